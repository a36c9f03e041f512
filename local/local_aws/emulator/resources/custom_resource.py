"""`Custom::*` and AWS::CloudFormation::CustomResource: invoke a Lambda and wait for its answer at a one-time URL."""

# pyright: reportUnknownVariableType=false
# (properties are JSON)

import json
import time
import uuid
from typing import Any

from local_aws.emulator.lambda_functions.invocation import has_pending_events, log_file
from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, ResourceFailedError
from local_aws.emulator.response_urls import ExpectedResponse, expect_response

_MAX_TIMEOUT_SECONDS = 3600
_POLL_SECONDS = 0.5


class CustomResource(Handler):
    """A Lambda-backed custom resource (CloudFormation user guide, "Custom resources")."""

    types = ("AWS::CloudFormation::CustomResource", "Custom::*")
    immutable = frozenset({"ServiceToken"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        return _send_request(context, "Create", properties, {}, context.new_name(255))

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        extra = {"PhysicalResourceId": physical_id, "OldResourceProperties": _stringify(old)}
        return _send_request(context, "Update", new, extra, physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        _send_request(context, "Delete", properties, {"PhysicalResourceId": physical_id}, physical_id)


def _send_request(
    context: Context, kind: str, properties: Properties, extra: dict[str, Any], fallback_id: str
) -> Outcome:
    """Send one request and wait for its answer; `fallback_id` is the physical id if the answer has none."""
    request_id, function = str(uuid.uuid4()), properties["ServiceToken"]
    with expect_response() as response:
        event = {
            "RequestType": kind,
            "ServiceToken": function,
            "ResponseURL": response.url,
            "StackId": context.stack_id,
            "RequestId": request_id,
            "LogicalResourceId": context.logical_id,
            "ResourceType": context.resource_type,
            "ResourceProperties": _stringify(properties),
            **extra,
        }
        context.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event))
        answer = _wait(response, properties)
    if answer is None:
        raise ResourceFailedError(
            "CloudFormation did not receive a response from your Custom Resource. Please check your logs for requestId "
            f"[{request_id}]. The function's output is also in {log_file(function)}",
            fallback_id,
        )
    physical_id = answer.get("PhysicalResourceId") or ""
    if answer.get("Status") != "SUCCESS":
        raise ResourceFailedError(
            f"Received response status [{answer.get('Status')}] from custom resource. Message returned: "
            f"{answer.get('Reason', '')} (RequestId: {request_id})",
            physical_id or fallback_id,
        )
    if not physical_id and kind != "Delete":
        raise ResourceFailedError(f"Invalid PhysicalResourceId (RequestId: {request_id})", fallback_id)
    return Outcome(physical_id or fallback_id, answer.get("Data") or {}, no_echo=bool(answer.get("NoEcho")))


def _wait(response: ExpectedResponse, properties: Properties) -> dict[str, Any] | None:
    """Return the answer; None after the timeout, or as soon as the function has ended without answering.

    AWS does not notice the latter and waits for up to an hour; the outcome is the same.
    """
    seconds = int(properties.get("ServiceTimeout", _MAX_TIMEOUT_SECONDS))
    if not 1 <= seconds <= _MAX_TIMEOUT_SECONDS:
        raise ResourceFailedError(f"ServiceTimeout must be 1 to {_MAX_TIMEOUT_SECONDS} seconds, got {seconds}")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pending = has_pending_events(properties["ServiceToken"])
        answer = response.wait(_POLL_SECONDS)
        if answer is not None or not pending:
            return answer
    return None


def _stringify(value: Any) -> Any:
    """CloudFormation passes every scalar as a string."""
    if isinstance(value, dict):
        return {key: _stringify(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_stringify(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)
