"""Invoke a function synchronously, or as an event that Lambda retries after an error."""

import base64
import json
import threading
import time
from collections import Counter
from typing import Any

from moto.awslambda.exceptions import LambdaClientError

from local_aws.emulator.functions.execution import Prepared, prepare, run

_MAX_EVENT_BYTES = 1_048_576
_MAX_SYNC_BYTES = 6_291_556
# AWS waits for one minute, then two.
_RETRY_SECONDS = (1.0, 2.0)
_TAIL_BYTES = 4096
# Events by function ARN that still run or will be retried.
_pending: Counter[str] = Counter()
_pending_lock = threading.Lock()


def has_pending_events(function_arn: str) -> bool:
    """Return whether the function still works on an event, or will retry one."""
    with _pending_lock:
        return _pending[function_arn] > 0


def invoke_by_name(
    backend: Any, function_name: str, qualifier: str | None, body: Any, headers: Any, response_headers: Any
) -> bytes:
    """Find the function and invoke it. moto's response class calls this."""
    payload = invoke(backend.get_function(function_name, qualifier), body, headers, response_headers)
    response_headers["Content-Length"] = str(len(payload))
    return payload


def invoke(function: Any, body: Any, headers: Any, response_headers: Any) -> bytes:
    """Run `function` on the JSON `body`; return its JSON answer, empty for an event."""
    kind = headers.get("X-Amz-Invocation-Type", headers.get("x-amz-invocation-type", "RequestResponse"))
    event = _parse(body, _MAX_EVENT_BYTES if kind == "Event" else _MAX_SYNC_BYTES)
    if kind == "DryRun":
        return b""
    prepared = prepare(function)
    if kind == "Event":
        with _pending_lock:
            _pending[function.function_arn] += 1
        threading.Thread(target=_run_event, args=(function, event, prepared), daemon=True).start()
        return b""
    result = run(function, event, prepared)
    if result.error is not None:
        response_headers["x-amz-function-error"] = result.error
    tail = result.log.encode()[-_TAIL_BYTES:]
    response_headers["x-amz-log-result"] = base64.b64encode(tail).decode()
    return result.payload


def _parse(body: Any, limit: int) -> str:
    """Return the event's JSON text; raise Lambda's error if it is too long or not JSON."""
    text = body.decode() if isinstance(body, bytes) else (body or "{}")
    size = len(text.encode())
    if size > limit:
        raise LambdaClientError("RequestTooLargeException", f"the payload must be at most {limit} bytes, got {size}")
    try:
        json.loads(text)
    except ValueError as error:
        raise LambdaClientError(
            "InvalidRequestContentException", f"Could not parse request body into json: {error}"
        ) from error
    return text


def _run_event(function: Any, event: str, prepared: Prepared) -> None:
    """Run an event, and retry it after an error as often as the event invoke configuration says (by default twice)."""
    try:
        configured = (item.response().get("MaximumRetryAttempts", 2) for item in function.event_invoke_config)
        retries = int(next(configured, 2))
        result = run(function, event, prepared)
        for attempt in range(retries):
            if result.error is None:
                break
            time.sleep(_RETRY_SECONDS[attempt])
            result = run(function, event, prepare(function))
    finally:
        with _pending_lock:
            _pending[function.function_arn] -= 1
