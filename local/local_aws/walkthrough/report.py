"""What the walkthrough prints: numbered steps with what each did and how long it took, then a summary."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO


class StepFailed(Exception):
    """A step of the walkthrough did not do what it should; the message says what was expected and what came."""


@dataclass
class Report:
    """Prints steps as they happen and remembers their seconds for the summary."""

    out: TextIO
    total: int
    current: str = ""
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def step(self, title: str) -> Generator[None]:
        """Announce a step, time it, and close it with its seconds."""
        self.current = title
        self._print(f"\n[{len(self.seconds) + 1:2}/{self.total}] {title}")
        started = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - started
        self._print(f"        done in {self.seconds[title]:.1f} s")

    def say(self, text: str) -> None:
        """Print what a step did, indented below its title."""
        for line in text.splitlines():
            self._print(f"        {line}")

    def failed(self, reason: str, log: str) -> None:
        """Say which step stopped, why, and where to read on."""
        self._print(f"\nstopped at: {self.current}\nreason:     {reason}\nlogs:       {log}")

    def summary(self, lines: list[str]) -> None:
        """Print the seconds of every step and the closing lines."""
        self._print("\nsummary")
        for title, seconds in self.seconds.items():
            self._print(f"  {seconds:7.1f} s  {title}")
        self._print(f"  {sum(self.seconds.values()):7.1f} s  in all")
        for line in lines:
            self._print(line)

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)
