"""Telling CloudFormation how a custom resource's request ended: one PUT to the address that it gave."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from stage_model.clock import SystemClock
from stage_model.connections import Connections, Request
from stage_model.errors import TransientError
from stage_model.patience import Patience, persist

_MAX_REASON = 1000  # bytes of JSON; CloudFormation takes at most 4096 for the whole answer


@dataclass(frozen=True)
class Answer:
    """The outcome: `reason` is None for success, else one sentence that people see."""

    physical_id: str
    reason: str | None = None
    data: Mapping[str, str] = field(default_factory=dict[str, str])


def send_answer(event: Mapping[str, str], answer: Answer, connections: Connections, deadline: float) -> None:
    """PUT the answer to the event's ResponseURL, trying again until `deadline` (epoch seconds) if it is not taken.

    Raises OutOfTimeError when it could not be delivered by then.
    """
    body = json.dumps(_document(event, answer)).encode()
    # CloudFormation signs the address for an empty content type.
    request = Request("PUT", event["ResponseURL"], {"Content-Type": "", "Content-Length": str(len(body))}, body)

    def put() -> None:
        with connections.exchange(request) as exchange:
            response = exchange.response
            response.read(65536)
            if response.status not in (200, 204):
                raise TransientError(f"CloudFormation's address answered {response.status}")

    persist(Patience(SystemClock(), deadline, stall_s=math.inf), put)


def _document(event: Mapping[str, str], answer: Answer) -> dict[str, object]:
    document: dict[str, object] = {
        "Status": "SUCCESS" if answer.reason is None else "FAILED",
        "PhysicalResourceId": answer.physical_id,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "Data": dict(answer.data),
    }
    if answer.reason is not None:
        document["Reason"] = _shortened(answer.reason[:_MAX_REASON])
    return document


def _shortened(reason: str) -> str:
    """Return as much of the beginning as fits: a character takes up to twelve bytes of JSON."""
    while len(json.dumps(reason)) > _MAX_REASON:
        reason = reason[:-10]
    return reason
