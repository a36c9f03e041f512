"""Probes of the endpoint's role: each fails if a permission is missing."""

import json
import time
import uuid
from typing import Any

from local_aws.emulator.process import LocalAws
from local_aws.walkthrough.client import let_sns_send
from tests.end_to_end.rights.access_denials import PROBE_PREFIX, AccessDenials, ProbeFailed
from tests.end_to_end.rights.deployed_permissions import DeployedPermissions

SHORTEST = {"generation_params": {"max_new_tokens": 4, "seed": 1}}
_TIMEOUT = 120.0  # seconds for an instance to come into service on two busy cores


class EndpointProbes:
    """The endpoint and its container, called by the administrator."""

    def __init__(self, aws: LocalAws, outputs: dict[str, str], permissions: DeployedPermissions) -> None:
        self._s3, self._sqs, self._logs = aws.client("s3"), aws.client("sqs"), aws.client("logs")
        self._sagemaker, self._runtime = aws.client("sagemaker"), aws.client("sagemaker-runtime")
        self._inputs, self._outputs = outputs["InputBucketName"], outputs["OutputBucketName"]
        self._endpoint = outputs["EndpointName"]
        self._log_group = permissions.physical("AsyncEndpointLogs")
        self._queue = self._subscribe(aws, [outputs["SuccessTopicArn"], outputs["ErrorTopicArn"]])
        self._messages: set[str] = set()

    def serves_a_request(self, denials: AccessDenials) -> None:
        """A request in the input bucket leads to audio, a response, a notification and a log line."""
        name = f"probe-{uuid.uuid4()}"
        self.make_clip(denials, name)
        denials.wait("the success message", lambda: self._notified(name))
        denials.wait("a line in the log", lambda: self._logged(name))

    def make_clip(self, denials: AccessDenials, name: str, **fields: object) -> str:
        """Request a clip with this inference id and further `fields`, download it once, and return its location."""
        body = {"texts": ["a probe"], **SHORTEST, **fields}
        self._s3.put_object(Bucket=self._inputs, Key=f"in/{name}", Body=json.dumps(body))
        places = self._invoke(name, InputLocation=f"s3://{self._inputs}/in/{name}")
        denials.wait("a response", lambda: self._exists(places["OutputLocation"]) or self._failed(places))
        location = json.loads(self._read(places["OutputLocation"]))["generated_outputs_s3"][0]
        self._read(location)
        return location

    def continues_a_clip(self, denials: AccessDenials) -> None:
        """A request continues a clip that an earlier one generated, from where that was written."""
        clip = self.make_clip(denials, f"probe-{uuid.uuid4()}")
        self.make_clip(denials, f"probe-{uuid.uuid4()}", continuation={"audio": {"s3": clip}})

    def reports_an_invalid_request(self, denials: AccessDenials) -> None:
        """An invalid request leads to a failure object and a notification."""
        name = f"probe-{uuid.uuid4()}"
        places = self._invoke(name, Body=json.dumps({"texts": []}))
        denials.wait("the failure object", lambda: self._exists(places["FailureLocation"]))
        denials.wait("the error message", lambda: self._notified(name))

    def honours_a_cancellation(self, denials: AccessDenials) -> None:
        """A request that is cancelled before it starts fails, and its progress says so."""
        name = f"probe-{uuid.uuid4()}"
        self._s3.put_object(Bucket=self._outputs, Key=f"cancel/{name}", Body=b"")
        places = self._invoke(name, Body=json.dumps({"texts": ["a probe"], "progress": True, **SHORTEST}))
        answers = [places["FailureLocation"], places["OutputLocation"]]
        found = denials.wait("an answer", lambda: next(filter(self._exists, answers), None))
        if b"cancelled by the client" not in (answer := self._read(found)):
            raise ProbeFailed(f"the request was not cancelled: {answer.decode()}")
        progress = f"s3://{self._outputs}/audio/{name}/progress.json"
        denials.wait("its progress", lambda: self._exists(progress) and b'"cancelled"' in self._read(progress))

    def starts_another_endpoint(self, denials: AccessDenials) -> None:
        """Another endpoint with the same configuration comes into service."""
        name = f"{PROBE_PREFIX}{uuid.uuid4().hex[:8]}"
        config = self._sagemaker.describe_endpoint(EndpointName=self._endpoint)["EndpointConfigName"]
        self._sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        try:
            state = denials.wait("an endpoint", lambda: self._settled(name))
        finally:
            while not self._settled(name):  # an endpoint that is changing cannot be deleted
                time.sleep(0.2)
            self._sagemaker.delete_endpoint(EndpointName=name)
        if state["EndpointStatus"] != "InService":
            raise ProbeFailed(state["FailureReason"])

    def opens_log_stream(self, denials: AccessDenials) -> None:
        """A second instance opens its own log stream."""
        before = len(self._streams())
        self._scale(2)
        denials.wait("a log stream of the second instance", lambda: len(self._streams()) > before)

    def scale_back(self) -> None:
        """Return to one instance, once the second is in service."""
        self._wait_until_settled()
        self._scale(1)
        self._wait_until_settled()

    def _subscribe(self, aws: LocalAws, topics: list[str]) -> str:
        queue = self._sqs.create_queue(QueueName="probe-messages")["QueueUrl"]
        arn = let_sns_send(self._sqs, queue)
        for topic in topics:
            aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return queue

    def _invoke(self, inference_id: str, **content: str) -> dict[str, Any]:
        return self._runtime.invoke_endpoint_async(
            EndpointName=self._endpoint, InferenceId=inference_id, ContentType="application/json", **content
        )

    def _failed(self, places: dict[str, Any]) -> None:
        if self._exists(places["FailureLocation"]):
            raise ProbeFailed(self._read(places["FailureLocation"]).decode())

    def _exists(self, location: str) -> bool:
        bucket, _, key = location.removeprefix("s3://").partition("/")
        return self._s3.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"] > 0

    def _read(self, location: str) -> bytes:
        bucket, _, key = location.removeprefix("s3://").partition("/")
        return self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def _notified(self, inference_id: str) -> bool:
        for message in self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", []):
            self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
            received = json.loads(json.loads(message["Body"])["Message"])
            if received.get("eventName") == "InferenceResult":  # not SageMaker's TestNotification
                self._messages.add(received["inferenceId"])
        return inference_id in self._messages

    def _streams(self) -> list[str]:
        found = self._logs.describe_log_streams(logGroupName=self._log_group)["logStreams"]
        return [stream["logStreamName"] for stream in found]

    def _logged(self, inference_id: str) -> bool:
        pattern = f'"{inference_id}"'
        found = self._logs.filter_log_events(logGroupName=self._log_group, filterPattern=pattern)["events"]
        return bool(found)

    def _settled(self, name: str) -> dict[str, Any] | None:
        state = self._sagemaker.describe_endpoint(EndpointName=name)
        return state if state["EndpointStatus"] in ("InService", "Failed") else None

    def _wait_until_settled(self) -> None:
        deadline = time.monotonic() + _TIMEOUT
        while not self._settled(self._endpoint):
            if time.monotonic() > deadline:
                raise ProbeFailed("the endpoint did not settle")
            time.sleep(0.2)

    def _scale(self, count: int) -> None:
        wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": count}]
        self._sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=self._endpoint, DesiredWeightsAndCapacities=wanted
        )
