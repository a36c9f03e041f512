"""A log whose lines a test can read."""

import io
import json
from dataclasses import dataclass, field
from typing import Any

from musicgen_serving.json_log import JsonLog


@dataclass
class MemoryLog:
    """A log whose lines a test can read."""

    stream: io.StringIO = field(default_factory=io.StringIO)

    @property
    def log(self) -> JsonLog:
        """What the code under test writes to."""
        return JsonLog(self.stream, "memory")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of one kind, read back."""
        return [line for line in self.lines() if line["event"] == name]

    def lines(self) -> list[dict[str, Any]]:
        """All lines, read back."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]
