"""A log of JSON lines.

multi-model-server prints its workers' output behind a log4j prefix, which CloudWatch cannot parse, so lines go to the
output of the container's first process. If that cannot be written, they go to standard error, because the toolkit's
log4j2.xml drops the workers' standard output (MODEL_LOG is at level warn); the "start" line says which.
"""

import json
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TextIO


class JsonLog:
    """Writes events as whole JSON lines; thread-safe."""

    def __init__(self, stream: TextIO, destination: str) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.destination = destination

    @classmethod
    def to(cls, path: Path | None) -> "JsonLog":
        """Append to the file at `path`, or write to standard error if it is None or cannot be opened."""
        reason = "no log file is configured"
        if path is not None:
            try:
                return cls(path.open("a", encoding="utf-8"), str(path))
            except OSError as error:
                reason = f"{path} cannot be written: {error.strerror}"
        return cls(sys.stderr, f"standard error, as {reason}")

    def write(self, event: str, **fields: object) -> None:
        """Write one line: `time` in seconds since 1970, `event`, and the fields."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, default=str)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def exception(self, event: str, error: BaseException, **fields: object) -> None:
        """Write one line with the exception's type, message and traceback."""
        trace = "".join(traceback.format_exception(error))
        self.write(event, error=f"{type(error).__name__}: {error}", traceback=trace, **fields)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
