"""`Custom::*` and AWS::CloudFormation::CustomResource: a Lambda does the work and answers at a one-time address."""

# pyright: reportUnknownVariableType=false
# (properties are JSON)

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from local_aws.emulator import response_urls
from local_aws.emulator.functions.invocation import has_pending_events
from local_aws.emulator.functions.logs import log_file
from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, ResourceFailedError
from local_aws.emulator.response_urls import ExpectedResponse

_MAXIMUM_TIMEOUT_SECONDS = 3600
_POLL_SECONDS = 0.5


class CustomResource(Handler):
    """Life cycle of a Lambda-backed custom resource, as in CloudFormation's user guide, "Custom resources"."""

    types = ("AWS::CloudFormation::CustomResource", "Custom::*")
    immutable = frozenset({"ServiceToken"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        return _request(context, "Create", properties, {}, context.new_name(255))

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        extra = {"PhysicalResourceId": physical_id, "OldResourceProperties": _as_text(old)}
        return _request(context, "Update", new, extra, physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        _request(context, "Delete", properties, {"PhysicalResourceId": physical_id}, physical_id)


def _request(context: Context, kind: str, properties: Properties, extra: dict[str, Any], fallback_id: str) -> Outcome:
    """Send one request and wait for its answer; `fallback_id` names the resource where a failed answer does not."""
    request_id = str(uuid.uuid4())
    with response_urls.expect_response() as response:
        event = {
            "RequestType": kind,
            "ServiceToken": properties["ServiceToken"],
            "ResponseURL": response.url,
            "StackId": context.stack_id,
            "RequestId": request_id,
            "LogicalResourceId": context.logical_id,
            "ResourceType": context.resource_type,
            "ResourceProperties": _as_text(properties),
            **extra,
        }
        context.client("lambda").invoke(
            FunctionName=properties["ServiceToken"], InvocationType="Event", Payload=json.dumps(event)
        )
        answer = _wait(response, properties)
    if answer is None:
        raise ResourceFailedError(
            "CloudFormation did not receive a response from your Custom Resource. Please check your logs for requestId "
            f"[{request_id}]. The function's output is also in {log_file(properties['ServiceToken'])}",
            fallback_id,
        )
    return _read(answer, kind, request_id, fallback_id)


def _wait(response: ExpectedResponse, properties: Properties) -> dict[str, Any] | None:
    """The answer; None after the time-out, or as soon as the function has ended for good without answering.

    AWS does not see the latter and waits on, up to an hour: the outcome is the same.
    """
    deadline = time.monotonic() + _timeout_seconds(properties)
    while time.monotonic() < deadline:
        pending = has_pending_events(properties["ServiceToken"])
        answer = response.wait(_POLL_SECONDS)
        if answer is not None or not pending:
            return answer
    return None


def _read(answer: dict[str, Any], kind: str, request_id: str, fallback_id: str) -> Outcome:
    physical_id = answer.get("PhysicalResourceId") or ""
    if answer.get("Status") != "SUCCESS":
        raise ResourceFailedError(
            f"Received response status [{answer.get('Status')}] from custom resource. Message returned: "
            f"{answer.get('Reason', '')} (RequestId: {request_id})",
            physical_id or fallback_id,
        )
    if not physical_id and kind != "Delete":
        raise ResourceFailedError(f"Invalid PhysicalResourceId (RequestId: {request_id})", fallback_id)
    return Outcome(physical_id or fallback_id, answer.get("Data") or {})


def _timeout_seconds(properties: Properties) -> int:
    seconds = int(properties.get("ServiceTimeout", _MAXIMUM_TIMEOUT_SECONDS))
    if not 1 <= seconds <= _MAXIMUM_TIMEOUT_SECONDS:
        raise ResourceFailedError(f"ServiceTimeout must be 1 to {_MAXIMUM_TIMEOUT_SECONDS} seconds, got {seconds}")
    return seconds


def _as_text(value: Any) -> Any:
    """CloudFormation hands every scalar over as text."""
    if isinstance(value, dict):
        return {key: _as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)
