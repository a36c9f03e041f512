"""Checks an `InvokeEndpointAsync` call against the API's own limits, and makes a request of it."""

import re
import uuid
from collections.abc import Mapping

from local_aws.sagemaker.definition import VariantDefinition
from local_aws.sagemaker.request import AsyncRequest

MAX_BODY_BYTES = 128_000
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
_NUMBERS = (
    ("requestTTLSeconds", "RequestTTLSeconds", 60, 21_600),
    ("invocationTimeoutSeconds", "InvocationTimeoutSeconds", 1, 3600),
)
_PREFIX = "X-Amzn-SageMaker-"


class InvalidInvocation(ValueError):
    """The call breaks a limit of the API; the text is its ValidationError's message."""


def parse_invocation(
    headers: Mapping[str, str], body: bytes, definition: VariantDefinition, *, now: float
) -> AsyncRequest:
    """The request that the call asks for. `now` is the backlog's clock, in seconds. Raises InvalidInvocation."""
    texts = {
        name: _text(headers.get(_PREFIX + header), name, low, high, pattern)
        for name, header, low, high, pattern in _TEXTS
    }
    numbers = {name: _number(headers.get(_PREFIX + header), name, low, high) for name, header, low, high in _NUMBERS}
    location = texts["inputLocation"]
    _check_input(location, body)
    result_id = str(uuid.uuid4())
    folder = "/".join(filter(None, [definition.output_path, (texts["s3OutputPathExtension"] or "").strip("/")]))
    return AsyncRequest(
        inference_id=texts["inferenceId"] or str(uuid.uuid4()),
        body=body or None,
        input_location=location,
        content_type=texts["contentType"] or "application/octet-stream",
        accept=texts["accept"],
        custom_attributes=texts["customAttributes"],
        output_location=f"{folder}/{texts['filename'] or result_id + '.out'}",
        failure_location=f"{definition.failure_path}/{result_id}-error.out" if definition.failure_path else None,
        invocation_timeout=numbers["invocationTimeoutSeconds"] or _DEFAULT_TIMEOUT_SECONDS,
        received_at=now,
        expires_at=now + (numbers["requestTTLSeconds"] or _DEFAULT_TTL_SECONDS),
    )


def _check_input(location: str | None, body: bytes) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise _constraint("body", f"Member must have length less than or equal to {MAX_BODY_BYTES}")
    if bool(location) == bool(body):
        got = "both" if location else "neither"
        raise InvalidInvocation(f"Exactly one of Body and InputLocation must be provided, got {got}")
    if location and not location.startswith("s3://"):
        raise InvalidInvocation(f"InputLocation must be an s3:// URL in the embedded AWS, got {location}")


def _text(value: str | None, name: str, low: int, high: int, pattern: str) -> str | None:
    if value is None:
        return None
    if len(value) < low:
        raise _constraint(name, f"Member must have length greater than or equal to {low}")
    if len(value) > high:
        raise _constraint(name, f"Member must have length less than or equal to {high}")
    if not re.fullmatch(pattern, value):
        raise _constraint(name, f"Member must satisfy regular expression pattern: {pattern}")
    return value


def _number(text: str | None, name: str, low: int, high: int) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise _constraint(name, "Member must be an integer")
    value = int(text)
    if value < low:
        raise _constraint(name, f"Member must have value greater than or equal to {low}")
    if value > high:
        raise _constraint(name, f"Member must have value less than or equal to {high}")
    return value


def _constraint(name: str, rule: str) -> InvalidInvocation:
    return InvalidInvocation(f"1 validation error detected: Value at '{name}' failed to satisfy constraint: {rule}")
