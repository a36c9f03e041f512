"""Probes of the roles of the stack's Lambda functions: each fails if a permission is missing."""

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
from tests.end_to_end.rights.access_denials import AccessDenials, ProbeFailed
from tests.end_to_end.rights.deployed_permissions import DeployedPermissions


class BusyHub:
    """Faults for LoopbackHub: while `busy`, it answers 503 and asks clients to retry in ten minutes."""

    def __init__(self) -> None:
        self.busy = False

    def __call__(self, request: HubRequest, reply: Reply) -> Reply:
        return Reply(503, {"Retry-After": "600"}) if self.busy else reply


class FunctionInvoker:
    """Invoke functions as CloudFormation does, with a presigned URL for the response."""

    def __init__(self, aws: LocalAws) -> None:
        self._s3, self._lambda = aws.client("s3"), aws.client("lambda")
        self._responses, self._signer = f"probe-answers-{uuid.uuid4().hex}", _signer(aws)
        self._s3.create_bucket(Bucket=self._responses)

    def event(self, kind: str, properties: dict[str, str], **more: str) -> dict[str, Any]:
        """Return a custom resource event."""
        request_id = str(uuid.uuid4())
        place = {"Bucket": self._responses, "Key": request_id}
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
        """Run the function to its end. Raise ProbeFailed if it fails."""
        try:
            ended = self._lambda.invoke(FunctionName=function, Payload=json.dumps(event))
        except ClientError as error:
            raise ProbeFailed(str(error)) from error
        if "FunctionError" in ended:
            raise ProbeFailed(ended["Payload"].read().decode())

    @contextmanager
    def timeout_of(self, function: str, *, seconds: int) -> Generator[None]:
        """Change the function's timeout temporarily."""
        timeout = self._lambda.get_function_configuration(FunctionName=function)["Timeout"]
        self._lambda.update_function_configuration(FunctionName=function, Timeout=seconds)
        try:
            yield
        finally:
            self._lambda.update_function_configuration(FunctionName=function, Timeout=timeout)

    def request(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke the function and return its response. Raise ProbeFailed with the reason of a failure."""
        self.invoke(function, event)
        response = self.response(event)
        if response is None:
            raise ProbeFailed("the function sent no response")
        return response

    def response(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Return the response to an event, if it exists. Raise ProbeFailed with the reason of a failure."""
        if not self._s3.list_objects_v2(Bucket=self._responses, Prefix=event["RequestId"])["KeyCount"]:
            return None
        response = json.loads(self._s3.get_object(Bucket=self._responses, Key=event["RequestId"])["Body"].read())
        if response["Status"] != "SUCCESS":
            raise ProbeFailed(response["Reason"])
        return response


def _signer(aws: LocalAws) -> Any:
    """Return a client that presigns URLs with Signature Version 4, as CloudFormation does."""
    session: Any = boto3.session.Session()
    return session.client(
        "s3",
        region_name=aws.region,
        endpoint_url=aws.endpoint_url,
        aws_access_key_id=ROOT_ACCESS_KEY_ID,
        aws_secret_access_key=ROOT_SECRET_ACCESS_KEY,
        config=Config(signature_version="s3v4"),
    )


class StagingProbes:
    """The staging Lambda."""

    def __init__(
        self,
        aws: LocalAws,
        permissions: DeployedPermissions,
        functions: FunctionInvoker,
        properties: dict[str, str],
        hub: BusyHub,
    ) -> None:
        self._s3, self._logs, self._hub = aws.client("s3"), aws.client("logs"), hub
        self._functions, self._function = functions, permissions.physical("StagedModelFunction")
        self._log_group = permissions.physical("StagedModelLogs")
        # Differs from the deployed model, so that there is something to stage each time.
        self._properties = {**properties, "DecoderDtype": "float32"}
        self._bucket, self._prefix = properties["ModelBucket"], properties["KeyPrefix"]

    def creates(self, denials: AccessDenials) -> None:
        """A Create stages a model that did not exist."""
        response = self._functions.request(self._function, self._functions.event("Create", self._properties))
        self._remove(response["PhysicalResourceId"])

    def deletes(self, denials: AccessDenials) -> None:
        """A Delete removes the model and an upload left by a killed run, and is logged."""
        lines, key = self._lines(), f"{self._prefix}{uuid.uuid4().hex * 2}/model.tar.gz"
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=b"a model")
        self._s3.create_multipart_upload(Bucket=self._bucket, Key=key)
        event = self._functions.event("Delete", self._properties, PhysicalResourceId=key)
        self._functions.request(self._function, event)
        objects = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=key).get("Contents", [])
        uploads = self._s3.list_multipart_uploads(Bucket=self._bucket, Prefix=key).get("Uploads", [])
        if objects or uploads:
            raise ProbeFailed(f"left: {objects} {uploads}")
        if self._lines() == lines:
            raise ProbeFailed("nothing was logged")

    def continues_in_a_new_invocation(self, denials: AccessDenials) -> None:
        """An invocation that must wait longer than its timeout starts a new one, which sends the response."""
        event = self._functions.event("Create", self._properties)
        self._hub.busy = True
        try:
            seconds = int(CONTINUATION_RESERVE_S) + 3  # three for the work
            with self._functions.timeout_of(self._function, seconds=seconds):
                self._functions.invoke(self._function, event)
        finally:
            self._hub.busy = False
        response = denials.wait("a response", lambda: self._functions.response(event))
        self._remove(response["PhysicalResourceId"])

    def creation_failure(self, without: Sequence[str] = ()) -> str:
        """Return why a Create without some of the deployed properties fails."""
        properties = {name: value for name, value in self._properties.items() if name not in without}
        event = self._functions.event("Create", properties)
        try:
            response = self._functions.request(self._function, event)
        except ProbeFailed as failure:
            return str(failure)
        raise AssertionError(f"staging must fail, got {response}")

    def _remove(self, staged: str) -> None:
        """Delete the tarball with that key, or the files under that prefix."""
        for item in self._s3.list_objects_v2(Bucket=self._bucket, Prefix=staged)["Contents"]:
            self._s3.delete_object(Bucket=self._bucket, Key=item["Key"])

    def _lines(self) -> int:
        found = self._logs.filter_log_events(logGroupName=self._log_group)["events"]
        return len(found)


class BucketEmptierProbes:
    """CDK's Lambda that empties buckets."""

    def __init__(self, aws: LocalAws, permissions: DeployedPermissions, functions: FunctionInvoker) -> None:
        self._s3, self._logs, self._functions = aws.client("s3"), aws.client("logs"), functions
        self._function = permissions.physical("CustomS3AutoDeleteObjectsCustomResourceProviderHandler")
        self._log_group = permissions.physical("BucketEmptierLogs")
        self._bucket = permissions.physical("StorageInputBucket")

    def empties_a_bucket(self, denials: AccessDenials) -> None:
        """A Delete empties the input bucket, and is logged."""
        policy, lines = self._s3.get_bucket_policy(Bucket=self._bucket)["Policy"], self._lines()
        self._s3.put_object(Bucket=self._bucket, Key="in/left", Body=b"over")
        try:
            event = self._functions.event("Delete", {"BucketName": self._bucket}, PhysicalResourceId=self._bucket)
            self._functions.request(self._function, event)
        finally:
            # The function denies writes before it empties the bucket.
            self._s3.put_bucket_policy(Bucket=self._bucket, Policy=policy)
        if self._s3.list_objects_v2(Bucket=self._bucket)["KeyCount"]:
            raise ProbeFailed("the bucket was not emptied")
        if self._lines() == lines:
            raise ProbeFailed("nothing was logged")

    def _lines(self) -> int:
        found = self._logs.filter_log_events(logGroupName=self._log_group)["events"]
        return len(found)


class FailedStartProbes:
    """The function that reports why a new endpoint did not start."""

    def __init__(
        self, aws: LocalAws, permissions: DeployedPermissions, functions: FunctionInvoker, stack_name: str
    ) -> None:
        self._logs, self._functions = aws.client("logs"), functions
        self._function = permissions.physical("FailedStartFunction")
        self._log_group = permissions.physical("FailedStartLogs")
        self._properties = {"LogGroupName": permissions.physical("AsyncEndpointLogs")}
        (stack,) = aws.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
        self._stack_id = stack["StackId"]

    def reads_the_stack_status(self, denials: AccessDenials) -> None:
        """A Delete reads the stack's status without a denial, and is logged."""
        lines = self._lines()
        event = self._functions.event("Delete", self._properties, StackId=self._stack_id)
        self._functions.request(self._function, event)
        if denied := denials.lines():  # the function succeeds in spite of it, so that a stack can always be deleted
            raise ProbeFailed(denied[0])
        if self._lines() == lines:
            raise ProbeFailed("nothing was logged")

    def _lines(self) -> int:
        found = self._logs.filter_log_events(logGroupName=self._log_group)["events"]
        return len(found)
