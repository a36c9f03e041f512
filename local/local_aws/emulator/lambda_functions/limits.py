"""What Lambda refuses: large payloads, reserved variables, too much concurrency, recursive loops, untrusting roles."""

import io
import re
import threading
import zipfile
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException, LambdaClientError

from local_aws.emulator.iam.sessions import service_may_assume

MAX_UNZIPPED_BYTES = 262_144_000
_MAX_ENVIRONMENT_BYTES = 4096
# Lambda developer guide, "Working with Lambda environment variables": defined by the runtime, not to be set.
_RESERVED = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
    }
)
_MAX_CHAIN = 16  # invocations of a function in one chain of requests
_LINEAGE = re.compile(r"Lineage=([^;]*)")
_running: Counter[str] = Counter()
_lock = threading.Lock()


class RequestTooLargeError(LambdaClientError):
    """The payload exceeds the quota of its kind of invocation."""

    code = 413

    def __init__(self, size: int, limit: int) -> None:
        super().__init__("RequestTooLargeException", f"the payload must be at most {limit} bytes, got {size}")


class ThrottledError(LambdaClientError):
    """The function runs as often as its reserved concurrency allows."""

    code = 429

    def __init__(self) -> None:
        super().__init__("TooManyRequestsException", "Rate Exceeded.")


def check_configuration(spec: dict[str, Any]) -> None:
    """Raise Lambda's error for settings of a function that it refuses; `spec` is CreateFunction's or an update's."""
    variables: dict[str, str] = spec.get("Environment", {}).get("Variables", {})
    if reserved := sorted(_RESERVED & set(variables)):
        raise InvalidParameterValueException(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            f"provided contains reserved keys that are currently not supported for modification. Reserved keys used in "
            f"this request: {', '.join(reserved)}"
        )
    if sum(len(f"{name}{value}".encode()) for name, value in variables.items()) > _MAX_ENVIRONMENT_BYTES:
        raise InvalidParameterValueException(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            f"provided exceeded the {_MAX_ENVIRONMENT_BYTES // 1024}KB limit."
        )
    if spec.get("DeadLetterConfig", {}).get("TargetArn"):
        raise NotImplementedError("the embedded AWS does not support DeadLetterConfig; use an on-failure destination")
    if "Role" in spec and not service_may_assume(spec["Role"], "lambda.amazonaws.com"):
        raise InvalidParameterValueException("The role defined for the function cannot be assumed by Lambda.")


def check_package(archive: bytes) -> None:
    """Raise Lambda's error for a deployment package that unpacks to too much; other faults show when it runs."""
    if not zipfile.is_zipfile(io.BytesIO(archive)):
        return
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        if sum(member.file_size for member in file.infolist()) > MAX_UNZIPPED_BYTES:
            raise InvalidParameterValueException(f"Unzipped size must be smaller than {MAX_UNZIPPED_BYTES} bytes")


@contextmanager
def concurrency_slot(function: Any) -> Generator[None]:
    """Count an invocation while the block runs; raise ThrottledError if the function's reserved concurrency is used."""
    arn, limit = function.function_arn, function.reserved_concurrency
    with _lock:
        if limit is not None and _running[arn] >= int(limit):
            raise ThrottledError
        _running[arn] += 1
    try:
        yield
    finally:
        with _lock:
            _running[arn] -= 1


def next_trace(function: Any, header: str) -> str:
    """Return the trace header for a function's own requests, given that of its invocation.

    The SDKs pass it on, and Lambda counts in it how often each function was invoked in the chain. Raise
    RecursiveInvocationException at the limit, unless the function's setting allows loops.
    """
    found = _LINEAGE.search(header)
    counts = Counter({name: int(count) for name, _, count in (item.partition(":") for item in _items(found))})
    counts[function.function_name] += 1
    if counts[function.function_name] > _MAX_CHAIN and recursive_loop(function) != "Allow":
        raise LambdaClientError(
            "RecursiveInvocationException",
            f"Lambda stopped {function.function_name}: it was invoked {_MAX_CHAIN} times in one chain of requests",
        )
    root = re.search(r"Root=[^;]+", header)
    lineage = "|".join(f"{name}:{count}" for name, count in counts.items())
    return f"{root[0] if root else 'Root=1-00000000-000000000000000000000000'};Sampled=0;Lineage={lineage}"


def recursive_loop(function: Any) -> str:
    """Return the function's recursive loop setting, Allow or Terminate."""
    return getattr(function, "recursive_loop", "Terminate")


def _items(found: re.Match[str] | None) -> list[str]:
    return [item for item in found[1].split("|") if item] if found else []
