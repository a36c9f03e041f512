"""Where a function's output goes: its log group, with the role's own rights, and a file in the state folder."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local_aws.emulator import clients

_LONGEST_MESSAGE = 256 * 1024 - 26  # CloudWatch Logs' limit of an event


def write_log(function: Any, request_id: str, text: str, credentials: dict[str, str]) -> None:
    """Write an invocation's output. That the role may not log shows in the file only, as on AWS it shows nowhere."""
    note = _write_events(function, request_id, text, credentials)
    path = log_file(function.function_arn)
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{text}{note}")


def log_file(function_arn: str) -> Path:
    """Where in the state folder the function's output is kept."""
    return clients.runtime().state / "lambda-logs" / f"{function_arn.rpartition(':')[2]}.log"


def _write_events(function: Any, request_id: str, text: str, credentials: dict[str, str]) -> str:
    logs = clients.client_with("logs", credentials, function.region)
    group, day = function.logs_group_name, dt.datetime.now(dt.UTC).strftime("%Y/%m/%d")
    stream = f"{day}/[$LATEST]{request_id.replace('-', '')}"
    now = int(time.time() * 1000)
    lines = [line[:_LONGEST_MESSAGE] for line in text.splitlines() if line.strip()]
    events = [{"timestamp": now, "message": line} for line in lines]
    try:
        _make_stream(logs, group, stream)
        for first in range(0, len(events), 1000):
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events[first : first + 1000])
    except ClientError as error:
        return f"not written to log group {group}: {error}\n"
    return ""


def _make_stream(logs: Any, group: str, stream: str) -> None:
    """Make the stream, and the group too if there is none and the role may."""
    try:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
            raise
        logs.create_log_group(logGroupName=group)
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
