"""The two ways to invoke a function: wait for its answer, or hand an event over and let Lambda try again."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

from local_aws.functions.runner import Result, run

_ASYNC_LIMIT_BYTES = 1_048_576
_SYNC_LIMIT_BYTES = 6_291_556
# AWS waits one minute, then two; nobody wants to here.
_RETRY_SECONDS = (1.0, 2.0)
_TAIL_BYTES = 4096


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
    if kind == "Event":
        threading.Thread(target=_run_event, args=(function, event), daemon=True).start()
        return b""
    result = run(function, event)
    if result.error is not None:
        response_headers["x-amz-function-error"] = result.error
    tail = result.log.encode()[-_TAIL_BYTES:]
    response_headers["x-amz-log-result"] = base64.b64encode(tail).decode()
    return result.payload


def _parse(body: Any, limit: int) -> str:
    """The event's JSON text, checked."""
    from moto.awslambda.exceptions import LambdaClientError

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


def _run_event(function: Any, event: str) -> Result:
    """Run an event, again after an error as often as the function's event configuration says (twice by default)."""
    result = run(function, event)
    for attempt in range(_retries(function)):
        if result.error is None:
            break
        time.sleep(_RETRY_SECONDS[attempt])
        result = run(function, event)
    return result


def _retries(function: Any) -> int:
    for config in function.event_invoke_config:
        return int(config.response().get("MaximumRetryAttempts", 2))
    return 2
