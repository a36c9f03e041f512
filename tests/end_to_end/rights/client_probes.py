"""A probe of the client policy: it fails if a permission is missing."""

from botocore.exceptions import ClientError

from local_aws.emulator.process import LocalAws
from tests.end_to_end.rights.access_denials import AccessDenials, ProbeFailed


class ClientProbes:
    """A client whose role has only the stack's client policy."""

    def __init__(self, aws: LocalAws, outputs: dict[str, str], keys: tuple[str, str, str]) -> None:
        self._s3, self._runtime = aws.client_as("s3", *keys), aws.client_as("sagemaker-runtime", *keys)
        self._outputs = outputs
        self._planted = [f"{prefix}/probe" for prefix in ("out", "failures", "audio")]
        for key in self._planted:
            aws.client("s3").put_object(Bucket=outputs["OutputBucketName"], Key=key, Body=b"a result")

    def invokes_and_downloads(self, denials: AccessDenials) -> None:
        """Upload an input, invoke and cancel, download results, and poll for results that do not exist yet."""
        try:
            self._s3.put_object(Bucket=self._outputs["InputBucketName"], Key="in/probe", Body=b"{}")
            self._s3.put_object(Bucket=self._outputs["OutputBucketName"], Key="cancel/probe", Body=b"")
            self._runtime.invoke_endpoint_async(EndpointName=self._outputs["EndpointName"], Body=b'{"texts": []}')
            for key in self._planted:
                self._s3.get_object(Bucket=self._outputs["OutputBucketName"], Key=key)
        except ClientError as error:
            raise ProbeFailed(str(error)) from error
        for key in self._planted:
            self._poll(f"{key}-yet")

    def _poll(self, key: str) -> None:
        """Expect NoSuchKey, which tells a poller to continue."""
        try:
            self._s3.get_object(Bucket=self._outputs["OutputBucketName"], Key=key)
        except self._s3.exceptions.NoSuchKey:
            return
        except ClientError as error:
            raise ProbeFailed(f"polling for {key}: {error}") from error
