"""The walkthrough's output: numbered steps with their details and durations, then a summary."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO


class StepFailed(Exception):
    """A step failed; the message says what was expected and what happened."""


@dataclass
class Report:
    """Print steps as they run, and record their seconds for the summary."""

    out: TextIO
    total: int
    current: str = ""
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def step(self, title: str) -> Generator[None]:
        self.current = title
        self._print(f"\n[{len(self.seconds) + 1:2}/{self.total}] {title}")
        started = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - started
        self._print(f"        done in {self.seconds[title]:.1f} s")

    def say(self, text: str) -> None:
        """Print `text`, indented below the step's title."""
        for line in text.splitlines():
            self._print(f"        {line}")

    def failed(self, reason: str, log: str) -> None:
        """Say where and why the run stopped; the last line is the reason, or its last line."""
        self._print(f"\nstopped at: {self.current}\nlogs:       {log}\nreason:     {reason}")

    def summary(self, lines: list[str]) -> None:
        self._print("\nsummary")
        for title, seconds in self.seconds.items():
            self._print(f"  {seconds:7.1f} s  {title}")
        self._print(f"  {sum(self.seconds.values()):7.1f} s  in total")
        for line in lines:
            self._print(line)

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)
