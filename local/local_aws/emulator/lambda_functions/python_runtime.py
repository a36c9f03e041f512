"""Run one invocation of a Python function; the program of the function's own process.

Read the event from the invocation's folder, call the handler and write its answer there. This imports nothing of the
embedded AWS: the function must find only its own zip and what AWS's runtime contains.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Context:
    """Lambda's context object (Lambda developer guide, "Using the Lambda context object")."""

    function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
    function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
    invoked_function_arn = os.environ["LOCAL_LAMBDA_FUNCTION_ARN"]
    memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
    aws_request_id = os.environ["LOCAL_LAMBDA_REQUEST_ID"]
    log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
    log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
    identity = None
    client_context = None

    def __init__(self, deadline: float):
        self._deadline = deadline

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends the invocation."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


class RuntimeFault(Exception):
    """An error of Lambda's runtime, not of the handler; `kind` is its errorType."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def find_handler() -> Callable[[Any, Context], Any]:
    """Return the handler that the environment names."""
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    try:
        loaded = importlib.import_module(module.replace("/", "."))
    except ImportError as error:
        raise RuntimeFault("Runtime.ImportModuleError", f"Unable to import module '{module}': {error}") from error
    if not hasattr(loaded, name):
        raise RuntimeFault("Runtime.HandlerNotFound", f"Handler '{name}' missing on module '{module}'")
    return getattr(loaded, name)


def main() -> None:
    """Run the handler that the environment names."""
    deadline = time.monotonic() + float(os.environ["LOCAL_LAMBDA_TIMEOUT_SECONDS"])
    folder = Path(os.environ.pop("LOCAL_LAMBDA_DIRECTORY"))
    event = json.loads((folder / "event.json").read_text(encoding="utf-8"))
    # Python put this file's own folder first, which the function must not see.
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    answer: dict[str, Any]
    try:
        payload = find_handler()(event, Context(deadline))
        try:
            json.dumps(payload)
        except (TypeError, ValueError) as error:  # an answer that is not JSON is the function's error
            raise RuntimeFault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error
        answer = {"payload": payload}
    except RuntimeFault as error:
        print(f"[ERROR] {error.kind}: {error}")
        content = {"errorMessage": str(error), "errorType": error.kind, "requestId": Context.aws_request_id}
        answer = {"payload": content | {"stackTrace": []}, "error": "Unhandled"}
    except Exception as error:  # any exception of the function is its answer
        traceback.print_exc()
        context = {"requestId": Context.aws_request_id, "stackTrace": traceback.format_tb(error.__traceback__)}
        answer = {
            "payload": {"errorMessage": str(error), "errorType": type(error).__name__} | context,
            "error": "Unhandled",
        }
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
