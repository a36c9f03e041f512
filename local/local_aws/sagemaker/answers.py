"""The answer to a request: its output or failure object and its SNS message, under the execution role's rights."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.sagemaker.container_call import Answered, Refused
from local_aws.sagemaker.definition import VariantDefinition
from local_aws.sagemaker.request import AsyncRequest
from local_aws.sagemaker.role import RoleSession
from local_aws.sagemaker.tally import Tally

_log = logging.getLogger(__name__)


def split_s3(url: str) -> tuple[str, str]:
    """Bucket and key of an `s3://bucket/key` URL."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


class Answers:
    """Answers requests of one endpoint. Each method writes one object and publishes one message; none raises for what
    S3 or SNS refuse: such a refusal turns a completed invocation into a failed one, and is logged."""

    def __init__(self, definition: VariantDefinition, role: RoleSession) -> None:
        self._definition = definition
        self._role = role
        self.tally = Tally()

    def complete(self, request: AsyncRequest, answer: Answered) -> None:
        """Writes the output object and tells the success topic."""
        try:
            self._write(request.output_location, answer.body, answer.content_type)
        except (ClientError, BotoCoreError) as error:
            reason = f"ClientError: Failed to upload the response to {request.output_location}: {error}"
            self.tally.add("ResponseUploadFailures")
            self.fail(request, Refused(reason))
            return
        self.tally.add("InvocationsProcessed")
        parameters = {"contentType": answer.content_type, "outputLocation": request.output_location}
        self._notify(self._definition.success_topic, request, "Completed", parameters)

    def fail(self, request: AsyncRequest, refusal: Refused, *, status: str = "Failed") -> None:
        """Writes the failure object, if the endpoint has a place for it, and tells the error topic.

        The object holds what the container said, or the reason when it said nothing. `status` is "Failed" or "Expired".
        """
        self.tally.add("ExpiredRequests" if status == "Expired" else "InvocationFailures")
        parameters: dict[str, str] = {}
        if request.failure_location:
            body = refusal.body or refusal.reason.encode()
            try:
                self._write(request.failure_location, body, refusal.content_type)
                parameters["failureLocation"] = request.failure_location
            except (ClientError, BotoCoreError) as error:
                _log.warning("failure object of inference %s not written: %s", request.inference_id, error)
        self._notify(self._definition.error_topic, request, status, parameters, refusal.reason)

    def _write(self, location: str, body: bytes, content_type: str) -> None:
        bucket, key = split_s3(location)
        self._role.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)

    def _notify(
        self,
        topic: str | None,
        request: AsyncRequest,
        status: str,
        parameters: dict[str, str],
        reason: str | None = None,
    ) -> None:
        if not topic:
            return
        message = notification(request, self._definition, status, parameters, reason)
        try:
            self._role.client("sns").publish(TopicArn=topic, Message=json.dumps(message))
        except (ClientError, BotoCoreError) as error:
            self.tally.add("NotificationFailures")
            _log.warning("notification of inference %s not published: %s", request.inference_id, error)


def notification(
    request: AsyncRequest, definition: VariantDefinition, status: str, parameters: dict[str, str], reason: str | None
) -> dict[str, Any]:
    """The SNS message as real asynchronous endpoints send it; absent fields are left out."""
    asked = {
        "accept": request.accept,
        "contentType": request.content_type,
        "endpointName": definition.endpoint_name,
        "inputLocation": request.input_location,
    }
    return {
        "awsRegion": definition.region,
        "eventTime": _stamp(datetime.now(UTC)),
        "receivedTime": _stamp(request.received_time),
        "invocationStatus": status,
        **({"failureReason": reason} if reason else {}),
        "requestParameters": {key: value for key, value in asked.items() if value is not None},
        "responseParameters": parameters,
        "inferenceId": request.inference_id,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
