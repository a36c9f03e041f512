"""The result of a request: its output or failure object, its SNS message and its metrics; test notifications."""

import json
import logging
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.sagemaker.endpoint_config import EndpointConfig
from local_aws.sagemaker.instances.execution_role import RoleSession
from local_aws.sagemaker.requests.invocation_request import AsyncRequest

_log = logging.getLogger(__name__)
_MAX_VALUES = 10_000  # kept of each metric if they are not taken
_TEST_NOTIFICATION = {"eventVersion": "1.0", "eventSource": "aws:sagemaker", "eventName": "TestNotification"}


class NotificationRefused(Exception):
    """SNS refused a test notification; the text becomes the endpoint's FailureReason."""


class EndpointMetrics:
    """Values by the name of their SageMaker metric: 1 for an event (InvocationsProcessed, ExpiredRequests, ...), or a
    duration. Thread-safe."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, value: float = 1.0) -> None:
        """Add a value of `name`."""
        with self._lock:
            self._values.setdefault(name, deque(maxlen=_MAX_VALUES)).append(value)

    def take(self) -> dict[str, tuple[float, ...]]:
        """Return the values added since the last call, by name."""
        with self._lock:
            taken, self._values = self._values, {}
        return {name: tuple(values) for name, values in taken.items()}


class ResultWriter:
    """Writes the objects and publishes the messages of one variant with the execution role's rights.

    No result raises if S3 or SNS refuse: a completed invocation whose output cannot be written fails, other refusals
    are logged.
    """

    def __init__(self, config: EndpointConfig, role: RoleSession) -> None:
        self._config = config
        self._role = role
        self.metrics = EndpointMetrics()

    def send_test_notifications(self) -> None:
        """Publish the documented test message to both topics; raise NotificationRefused if the role may not.

        SageMaker does so after CreateEndpoint, UpdateEndpoint and UpdateEndpointWeightsAndCapacities, to check the role
        (developer guide, "Create Endpoint" of asynchronous inference).
        """
        for topic in filter(None, (self._config.success_topic, self._config.error_topic)):
            try:
                self._role.client("sns").publish(TopicArn=topic, Message=json.dumps(_TEST_NOTIFICATION))
            except (ClientError, BotoCoreError) as error:
                # As in public reports of endpoints whose role lacked sns:Publish, with the cause added.
                raise NotificationRefused(
                    f"The provided role '{self._role.role_arn}' is invalid. Please ensure that the role exists, that "
                    'its trust relationship policy allows the action "sts:AssumeRole" for the service principal '
                    f'"sagemaker.amazonaws.com", and has "sns:Publish" permissions for topic "{topic}". ({error})'
                ) from error

    def complete(self, request: AsyncRequest, body: bytes, content_type: str) -> None:
        """Write the output object and notify the success topic."""
        started = time.monotonic()
        try:
            self._write(request.output_location, body, content_type)
        except (ClientError, BotoCoreError) as error:
            self.metrics.add("ResponseUploadFailures")
            self.fail(request, f"ClientError: Failed to upload the response to {request.output_location}: {error}")
            return
        self.metrics.add("ResponseUploadLatency", (time.monotonic() - started) * 1e6)  # microseconds
        self.metrics.add("InvocationsProcessed")
        parameters = {"contentType": content_type, "outputLocation": request.output_location}
        self._notify(request, "Completed", parameters)

    def expire(self, request: AsyncRequest) -> None:
        """Fail a request that waited longer than its time to live."""
        reason = "ClientError: The request waited in the queue longer than RequestTTLSeconds."
        self.fail(request, reason, status="Expired", metric="ExpiredRequests")

    def fail(
        self,
        request: AsyncRequest,
        reason: str,
        *,
        body: bytes = b"",
        content_type: str = "text/plain",
        status: str = "Failed",
        metric: str = "InvocationFailures",
    ) -> None:
        """Write the failure object, if the endpoint has a failure path, and notify the error topic.

        The object is `body`, what the container answered, or else the reason. `status` is "Failed" or "Expired".
        """
        self.metrics.add(metric)
        parameters: dict[str, str] = {}
        if request.failure_location:
            try:
                self._write(request.failure_location, body or reason.encode(), content_type)
                parameters["failureLocation"] = request.failure_location
            except (ClientError, BotoCoreError) as error:
                _log.warning("failure object of inference %s not written: %s", request.inference_id, error)
        self._notify(request, status, parameters, reason)

    def _write(self, location: str, body: bytes, content_type: str) -> None:
        bucket, _, key = location.removeprefix("s3://").partition("/")
        self._role.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)

    def _notify(
        self, request: AsyncRequest, status: str, parameters: dict[str, str], reason: str | None = None
    ) -> None:
        """Publish the message that real asynchronous endpoints send; absent fields are left out."""
        topic = self._config.success_topic if status == "Completed" else self._config.error_topic
        if not topic:
            return
        request_parameters = {
            "accept": request.accept,
            "contentType": request.content_type or "application/octet-stream",
            "endpointName": self._config.endpoint_name,
            "inputLocation": request.input_location,
        }
        message: dict[str, Any] = {
            "awsRegion": self._config.region,
            "eventTime": _timestamp(datetime.now(UTC)),
            "receivedTime": _timestamp(request.received_time),
            "invocationStatus": status,
            **({"failureReason": reason} if reason else {}),
            "requestParameters": {name: value for name, value in request_parameters.items() if value is not None},
            "responseParameters": parameters,
            "inferenceId": request.inference_id,
            "eventVersion": "1.0",
            "eventSource": "aws:sagemaker",
            "eventName": "InferenceResult",
        }
        try:
            self._role.client("sns").publish(TopicArn=topic, Message=json.dumps(message))
        except (ClientError, BotoCoreError) as error:
            self.metrics.add("NotificationFailures")
            _log.warning("notification of inference %s not published: %s", request.inference_id, error)


def _timestamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
