"""What the stack's functions do, each as a probe that fails when a right is missing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws.emulator.account import ROOT_ACCESS_KEY_ID, ROOT_SECRET_ACCESS_KEY
from local_aws.emulator.process import LocalAws
from local_aws.hub import HubRequest, Reply
from stage_model.handler import CONTINUATION_RESERVE_S
from tests.end_to_end.rights.deployed_rights import DeployedRights
from tests.end_to_end.rights.probe_refusals import ProbeFailed, Refusals


class Hub:
    """What the Hub does wrong: while `busy`, it asks everybody to come back in ten minutes."""

    def __init__(self) -> None:
        self.busy = False

    def __call__(self, request: HubRequest, reply: Reply) -> Reply:
        """Return what LoopbackHub sends instead of `reply`."""
        return Reply(503, {"Retry-After": "600"}) if self.busy else reply


class Functions:
    """Invokes functions as CloudFormation does, with a presigned address to answer at."""

    def __init__(self, aws: LocalAws) -> None:
        self._s3, self._lambda = aws.client("s3"), aws.client("lambda")
        self._answers, self._signer = f"probe-answers-{uuid.uuid4().hex}", _signer(aws)
        self._s3.create_bucket(Bucket=self._answers)

    def event(self, kind: str, properties: dict[str, str], **more: str) -> dict[str, Any]:
        """A custom resource's event."""
        request_id = str(uuid.uuid4())
        place = {"Bucket": self._answers, "Key": request_id}
        return {
            "RequestType": kind,
            "RequestId": request_id,
            "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/probe/1",
            "LogicalResourceId": "Probe",
            "ResponseURL": self._signer.generate_presigned_url("put_object", Params=place),
            "ResourceProperties": properties,
            **more,
        }

    def invoke(self, function: str, event: dict[str, Any]) -> None:
        """Run the function to its end; ProbeFailed when it could not."""
        try:
            ended = self._lambda.invoke(FunctionName=function, Payload=json.dumps(event))
        except ClientError as error:
            raise ProbeFailed(str(error)) from error
        if "FunctionError" in ended:
            raise ProbeFailed(ended["Payload"].read().decode())

    @contextmanager
    def living(self, function: str, *, seconds: int) -> Generator[None]:
        """The function with another time-out."""
        timeout = self._lambda.get_function_configuration(FunctionName=function)["Timeout"]
        self._lambda.update_function_configuration(FunctionName=function, Timeout=seconds)
        try:
            yield
        finally:
            self._lambda.update_function_configuration(FunctionName=function, Timeout=timeout)

    def request(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """The function's answer; ProbeFailed with its reason when that is a failure."""
        self.invoke(function, event)
        answer = self.answer(event)
        if answer is None:
            raise ProbeFailed("the function did not answer")
        return answer

    def answer(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to an event, if there is one yet; ProbeFailed with its reason when that is a failure."""
        if not self._s3.list_objects_v2(Bucket=self._answers, Prefix=event["RequestId"])["KeyCount"]:
            return None
        answer = json.loads(self._s3.get_object(Bucket=self._answers, Key=event["RequestId"])["Body"].read())
        if answer["Status"] != "SUCCESS":
            raise ProbeFailed(answer["Reason"])
        return answer


def _signer(aws: LocalAws) -> Any:
    """A client whose presigned addresses are of Signature Version 4, as CloudFormation's are."""
    session: Any = boto3.session.Session()
    return session.client(
        "s3",
        region_name=aws.region,
        endpoint_url=aws.endpoint_url,
        aws_access_key_id=ROOT_ACCESS_KEY_ID,
        aws_secret_access_key=ROOT_SECRET_ACCESS_KEY,
        config=Config(signature_version="s3v4"),
    )


class Staging:
    """The staging Lambda."""

    def __init__(
        self, aws: LocalAws, rights: DeployedRights, functions: Functions, properties: dict[str, str], hub: Hub
    ) -> None:
        self._s3, self._logs, self._hub = aws.client("s3"), aws.client("logs"), hub
        self._functions, self._function = functions, rights.physical("StagedModelFunction")
        self._log_group = rights.physical("StagedModelLogs")
        # Other than the deployed one, so that there is something to stage each time.
        self._properties = {**properties, "DecoderDtype": "float32"}
        self._bucket, self._prefix = properties["ModelBucket"], properties["KeyPrefix"]

    def stages(self, refusals: Refusals) -> None:
        """A Create makes a model that was not there."""
        answer = self._functions.request(self._function, self._functions.event("Create", self._properties))
        self._remove(answer["PhysicalResourceId"])

    def removes(self, refusals: Refusals) -> None:
        """A Delete removes the model and the upload that a killed run has left, and is logged."""
        lines, key = self._lines(), f"{self._prefix}{uuid.uuid4().hex * 2}/model.tar.gz"
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=b"a model")
        self._s3.create_multipart_upload(Bucket=self._bucket, Key=key)
        event = self._functions.event("Delete", self._properties, PhysicalResourceId=key)
        self._functions.request(self._function, event)
        objects = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=key).get("Contents", [])
        uploads = self._s3.list_multipart_uploads(Bucket=self._bucket, Prefix=key).get("Uploads", [])
        if objects or uploads:
            raise ProbeFailed(f"left behind: {objects} {uploads}")
        if self._lines() == lines:
            raise ProbeFailed("nothing was logged")

    def hands_over(self, refusals: Refusals) -> None:
        """An invocation that the Hub asks to wait for longer than it lives begins another, which answers."""
        event = self._functions.event("Create", self._properties)
        self._hub.busy = True
        try:
            with self._functions.living(self._function, seconds=int(CONTINUATION_RESERVE_S) + 3):  # three for its work
                self._functions.invoke(self._function, event)
        finally:
            self._hub.busy = False
        answer = refusals.wait("an answer", lambda: self._functions.answer(event))
        self._remove(answer["PhysicalResourceId"])

    def why_it_fails(self, without: Sequence[str] = ()) -> str:
        """What a Create that lacks some of the deployed properties is answered, which must be a failure."""
        properties = {name: value for name, value in self._properties.items() if name not in without}
        event = self._functions.event("Create", properties)
        try:
            answer = self._functions.request(self._function, event)
        except ProbeFailed as failure:
            return str(failure)
        raise AssertionError(f"staging must fail, got {answer}")

    def _remove(self, staged: str) -> None:
        """Delete the tarball of that key, or the files under that prefix."""
        for item in self._s3.list_objects_v2(Bucket=self._bucket, Prefix=staged)["Contents"]:
            self._s3.delete_object(Bucket=self._bucket, Key=item["Key"])

    def _lines(self) -> int:
        found = self._logs.filter_log_events(logGroupName=self._log_group)["events"]
        return len(found)


class Emptying:
    """CDK's function that empties buckets."""

    def __init__(self, aws: LocalAws, rights: DeployedRights, functions: Functions) -> None:
        self._s3, self._logs, self._functions = aws.client("s3"), aws.client("logs"), functions
        self._function = rights.physical("CustomS3AutoDeleteObjectsCustomResourceProviderHandler")
        self._log_group = rights.physical("BucketEmptierLogs")
        self._bucket = rights.physical("StorageInputBucket")

    def empties(self, refusals: Refusals) -> None:
        """A Delete empties the input bucket, and is logged."""
        policy, lines = self._s3.get_bucket_policy(Bucket=self._bucket)["Policy"], self._lines()
        self._s3.put_object(Bucket=self._bucket, Key="in/left", Body=b"over")
        try:
            event = self._functions.event("Delete", {"BucketName": self._bucket}, PhysicalResourceId=self._bucket)
            self._functions.request(self._function, event)
        finally:
            self._s3.put_bucket_policy(Bucket=self._bucket, Policy=policy)  # it denies writing before it empties
        if self._s3.list_objects_v2(Bucket=self._bucket)["KeyCount"]:
            raise ProbeFailed("the bucket was not emptied")
        if self._lines() == lines:
            raise ProbeFailed("nothing was logged")

    def _lines(self) -> int:
        found = self._logs.filter_log_events(logGroupName=self._log_group)["events"]
        return len(found)
