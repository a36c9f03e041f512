"""An accepted `InvokeEndpointAsync` call, and its validation against the API's limits."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from local_aws.sagemaker.endpoint_config import EndpointConfig

_MAX_BODY_BYTES = 128_000
_DEFAULT_TTL_SECONDS = 21_600
_DEFAULT_TIMEOUT_SECONDS = 900

# Member name, header (after its prefix), lengths and pattern, as in the service model (sagemaker-runtime 2017-05-13).
_TEXTS: tuple[tuple[str, str, int, int, str], ...] = (
    ("contentType", "Content-Type", 0, 1024, r"[\x00-\x7f]*"),
    ("accept", "Accept", 0, 1024, r"[\x00-\x7f]*"),
    ("customAttributes", "Custom-Attributes", 0, 1024, r"[\x00-\x7f]*"),
    ("inferenceId", "Inference-Id", 1, 64, r"[!-~][ -~]*"),
    ("inputLocation", "InputLocation", 1, 1024, r"(https|s3)://([^/]+)/?(.*)"),
    ("s3OutputPathExtension", "S3OutputPathExtension", 1, 512, r"(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+"),
    ("filename", "Filename", 1, 32, r"(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9-_\.]*"),
)
_INTEGERS = (
    ("requestTTLSeconds", "RequestTTLSeconds", 60, 21_600),
    ("invocationTimeoutSeconds", "InvocationTimeoutSeconds", 1, 3600),
)
_PREFIX = "X-Amzn-SageMaker-"


class InvalidInvocation(ValueError):
    """The call exceeds a limit of the API; the text is its ValidationError's message."""


@dataclass(eq=False)  # two requests with equal content are still two requests
class AsyncRequest:
    """An accepted request. Either `body` or `input_location` (s3://) is set.

    `received_at`, `expires_at` and `not_before` are seconds of the queue's clock; `deliveries` counts how often a
    container received the request without answering it.
    """

    inference_id: str
    body: bytes | None
    input_location: str | None
    content_type: str | None
    accept: str | None
    custom_attributes: str | None
    output_location: str
    failure_location: str | None
    invocation_timeout: float
    received_at: float
    expires_at: float
    received_time: datetime = field(default_factory=partial(datetime.now, UTC))
    not_before: float = 0.0
    deliveries: int = 0


def parse_invocation(headers: Mapping[str, str], body: bytes, config: EndpointConfig, *, now: float) -> AsyncRequest:
    """Return the request of a call. `now` is the queue's clock, in seconds. Raises InvalidInvocation."""
    texts = {
        name: _text(headers.get(_PREFIX + header), name, low, high, pattern)
        for name, header, low, high, pattern in _TEXTS
    }
    integers = {name: _integer(headers.get(_PREFIX + header), name, low, high) for name, header, low, high in _INTEGERS}
    location = texts["inputLocation"]
    _check_bounds("body", "length", len(body), 0, _MAX_BODY_BYTES)
    if bool(location) == bool(body):
        got = "both" if location else "neither"
        raise InvalidInvocation(f"Exactly one of Body and InputLocation must be provided, got {got}")
    if location and not location.startswith("s3://"):
        raise InvalidInvocation(f"InputLocation must be an s3:// URL in the embedded AWS, got {location}")
    result_id = str(uuid.uuid4())
    folder = "/".join(filter(None, [config.output_path, (texts["s3OutputPathExtension"] or "").strip("/")]))
    return AsyncRequest(
        inference_id=texts["inferenceId"] or str(uuid.uuid4()),
        body=body or None,
        input_location=location,
        content_type=texts["contentType"],
        accept=texts["accept"],
        custom_attributes=texts["customAttributes"],
        output_location=f"{folder}/{texts['filename'] or result_id + '.out'}",
        failure_location=f"{config.failure_path}/{result_id}-error.out" if config.failure_path else None,
        invocation_timeout=integers["invocationTimeoutSeconds"] or _DEFAULT_TIMEOUT_SECONDS,
        received_at=now,
        expires_at=now + (integers["requestTTLSeconds"] or _DEFAULT_TTL_SECONDS),
    )


def _text(value: str | None, name: str, low: int, high: int, pattern: str) -> str | None:
    if value is None:
        return None
    _check_bounds(name, "length", len(value), low, high)
    if not re.fullmatch(pattern, value):
        raise _violation(name, f"Member must satisfy regular expression pattern: {pattern}")
    return value


def _integer(text: str | None, name: str, low: int, high: int) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise _violation(name, "Member must be an integer")
    _check_bounds(name, "value", int(text), low, high)
    return int(text)


def _check_bounds(name: str, quantity: str, value: int, low: int, high: int) -> None:
    if value < low:
        raise _violation(name, f"Member must have {quantity} greater than or equal to {low}")
    if value > high:
        raise _violation(name, f"Member must have {quantity} less than or equal to {high}")


def _violation(name: str, rule: str) -> InvalidInvocation:
    return InvalidInvocation(f"1 validation error detected: Value at '{name}' failed to satisfy constraint: {rule}")
