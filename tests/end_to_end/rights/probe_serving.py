"""What the endpoint does, each as a probe that fails when a right is missing."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from local_aws.emulator.process import LocalAws
from local_aws.walkthrough.client import StackOutputs
from tests.end_to_end.rights.deployed_rights import DeployedRights
from tests.end_to_end.rights.probe_refusals import PROBE, ProbeFailed, Refusals

_AT_MOST = 120.0  # seconds for an instance to come into service on two busy cores


class Serving:
    """The endpoint and its container, asked by the administrator."""

    def __init__(self, aws: LocalAws, outputs: StackOutputs, rights: DeployedRights) -> None:
        self._s3, self._sqs, self._logs = aws.client("s3"), aws.client("sqs"), aws.client("logs")
        self._sagemaker, self._runtime = aws.client("sagemaker"), aws.client("sagemaker-runtime")
        self._inputs, self._endpoint = outputs["InputBucketName"], outputs["EndpointName"]
        self._log_group = rights.physical("AsyncEndpointLogs")
        self._queue = self._subscribe(aws, [outputs["SuccessTopicArn"], outputs["ErrorTopicArn"]])
        self._messages: set[str] = set()

    def answers(self, refusals: Refusals) -> None:
        """A request in the input bucket becomes audio, an answer, a message and a line in the log."""
        name = f"probe-{uuid.uuid4()}"
        self.make_audio(refusals, name)
        refusals.wait("the success message", lambda: self._announced(name))
        refusals.wait("a line in the log", lambda: self._logged(name))

    def make_audio(self, refusals: Refusals, name: str, **fields: str) -> str:
        """The location of a clip, made by a request with this inference id and further `fields`, and read once."""
        body = {"texts": ["a probe"], "generation_params": {"max_new_tokens": 4, "seed": 1}, **fields}
        self._s3.put_object(Bucket=self._inputs, Key=f"in/{name}", Body=json.dumps(body))
        places = self._invoke(name, InputLocation=f"s3://{self._inputs}/in/{name}")
        refusals.wait("an answer", lambda: self._exists(places["OutputLocation"]) or self._failed(places))
        location = json.loads(self._read(places["OutputLocation"]))["generated_outputs_s3"][0]
        self._read(location)
        return location

    def refuses(self, refusals: Refusals) -> None:
        """A bad request becomes a failure object and a message."""
        name = f"probe-{uuid.uuid4()}"
        places = self._invoke(name, Body=json.dumps({"texts": []}))
        refusals.wait("the failure object", lambda: self._exists(places["FailureLocation"]))
        refusals.wait("the error message", lambda: self._announced(name))

    def starts(self, refusals: Refusals) -> None:
        """Another endpoint of the same configuration comes into service."""
        name = f"{PROBE}{uuid.uuid4().hex[:8]}"
        config = self._sagemaker.describe_endpoint(EndpointName=self._endpoint)["EndpointConfigName"]
        self._sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        try:
            state = refusals.wait("an endpoint", lambda: self._settled(name))
        finally:
            self._sagemaker.delete_endpoint(EndpointName=name)
        if state["EndpointStatus"] != "InService":
            raise ProbeFailed(state["FailureReason"])

    def opens_log(self, refusals: Refusals) -> None:
        """A second instance opens a log stream of its own."""
        before = len(self._streams())
        self._scale(2)
        refusals.wait("a log stream of the second instance", lambda: len(self._streams()) > before)

    def rest(self) -> None:
        """Go back to one instance, once the second has come into service."""
        self._await_in_service()
        self._scale(1)
        self._await_in_service()

    def _subscribe(self, aws: LocalAws, topics: list[str]) -> str:
        queue = self._sqs.create_queue(QueueName="probe-messages")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
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

    def _announced(self, inference_id: str) -> bool:
        for message in self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", []):
            self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
            self._messages.add(json.loads(json.loads(message["Body"])["Message"])["inferenceId"])
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

    def _await_in_service(self) -> None:
        deadline = time.monotonic() + _AT_MOST
        while not self._settled(self._endpoint):
            if time.monotonic() > deadline:
                raise ProbeFailed("the endpoint did not come to rest")
            time.sleep(0.2)

    def _scale(self, count: int) -> None:
        wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": count}]
        self._sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=self._endpoint, DesiredWeightsAndCapacities=wanted
        )
