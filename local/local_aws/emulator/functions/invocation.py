"""The two ways to invoke a function: wait for its answer, or hand an event over and let Lambda try again."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from typing import Any

from moto.awslambda.exceptions import LambdaClientError

from local_aws.emulator.functions.runner import Prepared, Result, prepare, run

_ASYNC_LIMIT_BYTES = 1_048_576
_SYNC_LIMIT_BYTES = 6_291_556
# AWS waits one minute, then two; nobody wants to here.
_RETRY_SECONDS = (1.0, 2.0)
_TAIL_BYTES = 4096


class _Events:
    """How many events each function still works on, attempts to come included."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, arn: str) -> None:
        with self._lock:
            self._counts[arn] += 1

    def remove(self, arn: str) -> None:
        with self._lock:
            self._counts[arn] -= 1

    def pending(self, arn: str) -> int:
        with self._lock:
            return self._counts[arn]


_events = _Events()


def has_pending_events(function_arn: str) -> bool:
    """Whether the function still works on an event that was handed over, or will try one again."""
    return _events.pending(function_arn) > 0


def invoke_by_name(
    backend: Any, function_name: str, qualifier: str | None, body: Any, headers: Any, response_headers: Any
) -> bytes:
    """Find the function and invoke it; moto's response class calls this."""
    payload = invoke(backend.get_function(function_name, qualifier), body, headers, response_headers)
    response_headers["Content-Length"] = str(len(payload))
    return payload


def invoke(function: Any, body: Any, headers: Any, response_headers: Any) -> bytes:
    """Run `function` on the JSON `body`; the answer's JSON, empty for an event that is only handed over."""
    kind = headers.get("X-Amz-Invocation-Type", headers.get("x-amz-invocation-type", "RequestResponse"))
    event = _parse(body, _ASYNC_LIMIT_BYTES if kind == "Event" else _SYNC_LIMIT_BYTES)
    if kind == "DryRun":
        return b""
    prepared = prepare(function)
    if kind == "Event":
        _events.add(function.function_arn)
        threading.Thread(target=_run_event, args=(function, event, prepared), daemon=True).start()
        return b""
    result = run(function, event, prepared)
    if result.error is not None:
        response_headers["x-amz-function-error"] = result.error
    tail = result.log.encode()[-_TAIL_BYTES:]
    response_headers["x-amz-log-result"] = base64.b64encode(tail).decode()
    return result.payload


def _parse(body: Any, limit: int) -> str:
    """The event's JSON text, checked."""
    text = body.decode() if isinstance(body, bytes) else (body or "{}")
    if len(text.encode()) > limit:
        raise LambdaClientError(
            "RequestTooLargeException", f"the payload must be at most {limit} bytes, got {len(text.encode())}"
        )
    try:
        json.loads(text)
    except ValueError as error:
        raise LambdaClientError(
            "InvalidRequestContentException", f"Could not parse request body into json: {error}"
        ) from error
    return text


def _run_event(function: Any, event: str, prepared: Prepared) -> Result:
    """Run an event, again after an error as often as the function's event configuration says (twice by default)."""
    try:
        result = run(function, event, prepared)
        for attempt in range(_retries(function)):
            if result.error is None:
                break
            time.sleep(_RETRY_SECONDS[attempt])
            result = run(function, event, prepare(function))
        return result
    finally:
        _events.remove(function.function_arn)


def _retries(function: Any) -> int:
    for config in function.event_invoke_config:
        return int(config.response().get("MaximumRetryAttempts", 2))
    return 2
