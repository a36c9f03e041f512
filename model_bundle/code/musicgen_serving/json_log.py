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
    """Writes events as whole JSON lines; thread-safe. Nothing that is logged, and no fault of the stream, raises.

    A line that cannot be written is dropped; the next one that can has the number of those dropped as `lost_lines`.
    """

    def __init__(self, stream: TextIO, destination: str) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._lost_lines = 0
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
        """Write one line: `time` in seconds since 1970, `event`, and the fields; never raises.

        A field that JSON cannot hold is written as its `repr`.
        """
        with self._lock:
            try:
                if self._lost_lines:
                    fields["lost_lines"] = self._lost_lines
                self._stream.write(_line({"time": round(time.time(), 3), "event": event, **fields}) + "\n")
                self._stream.flush()
                self._lost_lines = 0
            except Exception:  # a closed pipe, a full disk, no memory: the work that is logged goes on
                self._lost_lines += 1

    def metric(self, event: str, name: str, value: float, endpoint: str | None, **fields: object) -> None:
        """Write one line of which CloudWatch Logs makes a metric of the endpoint, in the namespace MusicGen.

        Without an endpoint's name it is an ordinary line. The format is CloudWatch's "embedded metric format".
        """
        directive = {"Namespace": "MusicGen", "Dimensions": [["EndpointName"]], "Metrics": [{"Name": name}]}
        embedded = {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": [directive]}
        marks = {"_aws": embedded, "EndpointName": endpoint} if endpoint else {}
        self.write(event, **{name: value}, **fields, **marks)

    def exception(self, event: str, error: BaseException, **fields: object) -> None:
        """Write one line with the exception's type, message and traceback; never raises."""
        try:
            message = f"{type(error).__name__}: {error}"
            trace = "".join(traceback.format_exception(error))
        except Exception as fault:  # of the exception's own methods, or no memory
            message, trace = type(error).__name__, f"could not be formatted: {type(fault).__name__}"
        self.write(event, error=message, traceback=trace, **fields)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _line(fields: dict[str, object]) -> str:
    """Return the fields as JSON; each value that JSON cannot hold as its `repr`."""
    try:
        return json.dumps(fields, default=str, allow_nan=False)
    except Exception:  # NaN, a cycle, a key that is no string, or whatever a value's own methods raise
        return json.dumps({name: _shown(value) for name, value in fields.items()})


def _shown(value: object) -> object:
    for represent in (_as_json, repr):
        try:
            return represent(value)
        except Exception:
            continue
    return f"a {type(value).__name__} without a repr"


def _as_json(value: object) -> object:
    """Return the value as JSON would read it back."""
    return json.loads(json.dumps(value, default=str, allow_nan=False))
