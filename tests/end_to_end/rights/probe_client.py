"""What a client does, as a probe that fails when a right is missing."""

from __future__ import annotations

from botocore.exceptions import ClientError

from local_aws.emulator.process import LocalAws
from local_aws.walkthrough.client import StackOutputs
from tests.end_to_end.rights.probe_refusals import ProbeFailed, Refusals


class Asking:
    """A client under a role that holds the stack's client policy and nothing else."""

    def __init__(self, aws: LocalAws, outputs: StackOutputs, keys: tuple[str, str, str]) -> None:
        self._s3, self._runtime = aws.client_as("s3", *keys), aws.client_as("sagemaker-runtime", *keys)
        self._outputs = outputs
        self._planted = [f"{prefix}/probe" for prefix in ("out", "failures", "audio")]
        for key in self._planted:
            aws.client("s3").put_object(Bucket=outputs["OutputBucketName"], Key=key, Body=b"a result")

    def asks(self, refusals: Refusals) -> None:
        """Put an input, send a request, find the answer absent at first, fetch what is there."""
        try:
            self._s3.put_object(Bucket=self._outputs["InputBucketName"], Key="in/probe", Body=b"{}")
            self._runtime.invoke_endpoint_async(EndpointName=self._outputs["EndpointName"], Body=b'{"texts": []}')
            for key in self._planted:
                self._s3.get_object(Bucket=self._outputs["OutputBucketName"], Key=key)
        except ClientError as error:
            raise ProbeFailed(str(error)) from error
        for key in self._planted:
            self._polls(f"{key}-yet")

    def _polls(self, key: str) -> None:
        """A poller goes on as long as it hears NoSuchKey."""
        try:
            self._s3.get_object(Bucket=self._outputs["OutputBucketName"], Key=key)
        except self._s3.exceptions.NoSuchKey:
            return
        except ClientError as error:
            raise ProbeFailed(f"polling for {key}: {error}") from error
