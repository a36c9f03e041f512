"""One invocation: the asset on disk, the role's credentials, the process, its time limit and its log."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.awslambda.exceptions import LambdaClientError
from moto.iam.exceptions import NotFoundException

from local_aws.emulator import children, clients
from local_aws.emulator.environment import endpoint_environment
from local_aws.emulator.functions.assets import AssetError, extract
from local_aws.emulator.functions.logs import write_log
from local_aws.emulator.functions.runtimes import UnsupportedRuntimeError, command_for, tool_environment
from local_aws.emulator.iam.sessions import assume_role_for_service


@dataclass(frozen=True)
class Result:
    """What came of an invocation: the answer's JSON, what the function printed, and Lambda's kind of error if any."""

    payload: bytes
    log: str
    error: str | None = None


@dataclass(frozen=True)
class Prepared:
    """What an invocation needs before it starts: the unpacked zip and the role's credentials."""

    task: Path
    credentials: dict[str, str]


def prepare(function: Any) -> Prepared:
    """Take on the function's role and unpack its zip; if that fails, Lambda's own error for the caller."""
    try:
        credentials = assume_role_for_service(function.role, "lambda.amazonaws.com", function.function_name[:64])
        folder = clients.runtime().state / "functions"
        task = extract(function.code_bytes, function.code_sha_256, function.run_time, folder)
        command_for(function.run_time)
    except (PermissionError, NotFoundException) as error:
        raise LambdaClientError("AccessDeniedException", f"Lambda cannot assume {function.role}: {error}") from error
    except (AssetError, zipfile.BadZipFile) as error:
        raise LambdaClientError("InvalidZipFileException", str(error)) from error
    except UnsupportedRuntimeError as error:
        raise LambdaClientError("InvalidRuntimeException", str(error)) from error
    return Prepared(task, credentials)


def run(function: Any, event: str, prepared: Prepared) -> Result:
    """Run moto's `function` once on `event` (JSON text) and wait for it, at most as long as its `Timeout` allows."""
    request_id = str(uuid.uuid4())
    work = Path(tempfile.mkdtemp(prefix="invocation-", dir=clients.runtime().state))
    try:
        result = _execute(function, event, request_id, prepared, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    write_log(function, request_id, result.log, prepared.credentials)
    return result


def _execute(function: Any, event: str, request_id: str, prepared: Prepared, work: Path) -> Result:
    (work / "tmp").mkdir()
    (work / "event.json").write_text(event, encoding="utf-8")
    timeout, registry = float(function.timeout), clients.runtime().state / "children"
    environment = _environment(function, request_id, prepared, work)
    started = time.monotonic()
    with (work / "log").open("wb") as log:
        process = children.spawn(
            command_for(function.run_time),
            registry=registry,
            cwd=prepared.task,
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            process.wait(timeout)
            timed_out = False
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            children.end(process, registry=registry, grace_seconds=0.2)
    elapsed = time.monotonic() - started
    text = (work / "log").read_text(encoding="utf-8", errors="replace")
    log_text = f"START RequestId: {request_id}\n{text}\nEND RequestId: {request_id}\n"
    log_text += f"REPORT RequestId: {request_id} Duration: {elapsed * 1000:.0f} ms\n"
    if timed_out:
        return _failure("Sandbox.Timedout", f"Task timed out after {timeout:.2f} seconds", "Unhandled", log_text)
    return _read_answer(work / "answer.json", request_id, process.returncode, log_text)


def _read_answer(path: Path, request_id: str, exit_status: int, log: str) -> Result:
    if not path.exists():
        message = f"RequestId: {request_id} Error: Runtime exited with error: exit status {exit_status}"
        return _failure("Runtime.ExitError", message, "Unhandled", log)
    answer = json.loads(path.read_text(encoding="utf-8"))
    return Result(json.dumps(answer["payload"]).encode(), log, answer.get("error"))


def _failure(kind: str, message: str, error: str, log: str) -> Result:
    return Result(json.dumps({"errorType": kind, "errorMessage": message}).encode(), f"{log}{kind}: {message}\n", error)


def _environment(function: Any, request_id: str, prepared: Prepared, work: Path) -> dict[str, str]:
    runtime, credentials = clients.runtime(), prepared.credentials
    return {
        **endpoint_environment(runtime.endpoint_url, runtime.authority, runtime.trust),
        "HOME": str(work),
        "TMPDIR": str(work / "tmp"),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "LAMBDA_TASK_ROOT": str(prepared.task),
        "_HANDLER": str(function.handler),
        "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
        "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
        "AWS_LAMBDA_LOG_STREAM_NAME": request_id,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time}",
        "AWS_ACCESS_KEY_ID": credentials["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": credentials["aws_secret_access_key"],
        "AWS_SESSION_TOKEN": credentials["aws_session_token"],
        "LOCAL_LAMBDA_DIRECTORY": str(work),
        "LOCAL_LAMBDA_REQUEST_ID": request_id,
        "LOCAL_LAMBDA_FUNCTION_ARN": function.function_arn,
        "LOCAL_LAMBDA_TIMEOUT_SECONDS": str(function.timeout),
        **{str(name): str(value) for name, value in function.environment_vars.items()},
        **tool_environment(),
    }
