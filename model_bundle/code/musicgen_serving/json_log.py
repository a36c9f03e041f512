"""One JSON object a line, on a line of its own.

multi-model-server reads its workers' output and prints it behind a log4j prefix, which CloudWatch cannot parse; so
lines go to the output of the container's first process. Where that cannot be written they go to standard error, because
the toolkit's log4j2.xml drops the workers' standard output (MODEL_LOG is at level warn); the first line says which.
"""

import json
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TextIO


class JsonLog:
    """Writes events as JSON lines, whole lines only, from any thread."""

    def __init__(self, stream: TextIO, destination: str) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.destination = destination

    @classmethod
    def to(cls, path: Path | None) -> "JsonLog":
        """Log to the file at `path`, appending; to standard error where it is None or cannot be opened."""
        reason = "no log file is configured"
        if path is not None:
            try:
                return cls(path.open("a", encoding="utf-8"), str(path))
            except OSError as error:
                reason = f"{path} cannot be written: {error.strerror}"
        return cls(sys.stderr, f"standard error, as {reason}")

    def write(self, event: str, **fields: object) -> None:
        """Write one line: the time (seconds since 1970), the event and its fields."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, default=str)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Close the file; nothing is written after."""
        self._stream.close()

    def exception(self, event: str, error: BaseException, **fields: object) -> None:
        """Write one line with the exception's type, text and traceback."""
        trace = "".join(traceback.format_exception(error))
        self.write(event, error=f"{type(error).__name__}: {error}", traceback=trace, **fields)
