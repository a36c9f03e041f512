"""Sends a container's output to CloudWatch Logs with the execution role's rights, as SageMaker does."""

import functools
import logging
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.sagemaker.instances.execution_role import RoleSession

_log = logging.getLogger(__name__)
_PERIOD_SECONDS = 1.0
_BATCH_BYTES = 512 * 1024  # PutLogEvents takes 1 MiB, counted with 26 bytes an event
_LINE_BYTES = 64 * 1024


class ContainerLogs:
    """Follows a log file and sends whole lines to `/aws/sagemaker/Endpoints/<endpoint>`, stream `stream`.

    Without permission or without the log group the lines stay in the file only (on AWS they are lost) and the reason is
    logged once. The group is created if the role may do so.
    """

    def __init__(self, path: Path, role: RoleSession, endpoint_name: str, stream: str) -> None:
        self._path = path
        self._role = role
        self._group = f"/aws/sagemaker/Endpoints/{endpoint_name}"
        self._stream = stream
        self._offset = 0
        self._ready = False
        self._warned = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"logs-{stream}")
        self._thread.start()

    def stop(self) -> None:
        """Send the remaining lines and stop."""
        self._stopping.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopping.wait(_PERIOD_SECONDS):
            self._send()
        self._send(final=True)

    def _send(self, *, final: bool = False) -> None:
        try:
            while lines := self._next_lines(final=final):
                self._put(lines)
                self._offset += sum(map(len, lines))
        except (ClientError, BotoCoreError) as error:
            if not self._warned:
                _log.warning("container output of %s stays in %s: %s", self._stream, self._path, error)
                self._warned = True

    def _next_lines(self, *, final: bool) -> list[bytes]:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            block = file.read(_BATCH_BYTES)
        lines = block.splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n") and not final and len(lines[-1]) < _LINE_BYTES:
            lines.pop()
        return lines

    def _put(self, lines: list[bytes]) -> None:
        logs = self._role.client("logs")
        if not self._ready:
            self._create_stream(logs)
        now = int(time.time() * 1000)
        texts = [line[:_LINE_BYTES].decode("utf-8", "replace").rstrip() for line in lines]
        events = [{"timestamp": now, "message": text} for text in texts if text]
        if events:
            logs.put_log_events(logGroupName=self._group, logStreamName=self._stream, logEvents=events)

    def _create_stream(self, logs: Any) -> None:
        try:
            logs.create_log_stream(logGroupName=self._group, logStreamName=self._stream)
        except logs.exceptions.ResourceNotFoundException:
            logs.create_log_group(logGroupName=self._group)
            logs.create_log_stream(logGroupName=self._group, logStreamName=self._stream)
        self._ready = True


class PlatformLog:
    """SageMaker's own log of an instance, stream `<stream>/data-log`: a line for each request that failed.

    https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html; the form of a line is that of public
    reports. The file at `path` and the stream appear with the first line. Thread-safe.
    """

    def __init__(self, path: Path, role: RoleSession, endpoint_name: str, stream: str) -> None:
        self._path = path
        self._follow = functools.partial(ContainerLogs, path, role, endpoint_name, f"{stream}/data-log")
        self._logs: ContainerLogs | None = None
        self._lock = threading.Lock()

    def add(self, inference_id: str, text: str) -> None:
        """Add a line about a request."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        with self._lock:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{now}:[sagemaker logs] [{inference_id}] {text}\n")
            if self._logs is None:
                self._logs = self._follow()

    def stop(self) -> None:
        """Send the remaining lines and stop."""
        with self._lock:
            if self._logs:
                self._logs.stop()
