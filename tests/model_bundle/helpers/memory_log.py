"""An in-memory JsonLog whose lines a test can read."""

import io
import json
from dataclasses import dataclass, field
from typing import Any

from musicgen_serving.json_log import JsonLog


@dataclass
class MemoryLog:
    """Lines that the code under test writes to `log`."""

    stream: io.StringIO = field(default_factory=io.StringIO)

    @property
    def log(self) -> JsonLog:
        return JsonLog(self.stream, "memory")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the parsed lines of one event."""
        return [line for line in self.lines() if line["event"] == name]

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines, parsed."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]
