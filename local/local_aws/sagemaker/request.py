"""One accepted request of an asynchronous endpoint."""

from dataclasses import dataclass, field
from datetime import UTC, datetime


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(eq=False)  # two requests with equal content are still two requests
class AsyncRequest:
    """What `InvokeEndpointAsync` accepted, and how far it has come.

    Either `body` or `input_location` (s3://) is set. `received_at`, `expires_at` and `not_before` are seconds of the
    backlog's clock; `deliveries` counts how often a container got the request without answering it.
    """

    inference_id: str
    body: bytes | None
    input_location: str | None
    content_type: str
    accept: str | None
    custom_attributes: str | None
    output_location: str
    failure_location: str | None
    invocation_timeout: float
    received_at: float
    expires_at: float
    received_time: datetime = field(default_factory=_now)
    not_before: float = 0.0
    deliveries: int = 0
