"""The walkthrough's output: numbered steps with their details and durations, then a summary."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class StepFailed(Exception):
    """A step failed; the message says what was expected and what happened."""


@dataclass
class Report:
    """Print steps as they run, and record their seconds for the summary.

    On a terminal what a step is doing is one live line below its title; elsewhere each `progress` is a line.
    """

    out: TextIO
    total: int
    current: str = ""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    _live: Progress | None = None

    @contextmanager
    def step(self, title: str) -> Generator[None]:
        self.current = title
        self._print(f"\n[{len(self.seconds) + 1:2}/{self.total}] {title}")
        started = time.monotonic()
        with self._live_line():
            yield
        self.seconds[title] = time.monotonic() - started
        self._print(f"        done in {self.seconds[title]:.1f} s")

    def say(self, text: str) -> None:
        """Print `text`, indented below the step's title."""
        for line in text.splitlines():
            self._print(f"        {line}")

    def progress(self, line: str, short: str | None = None) -> None:
        """Show that `line` happened: in place of the last one on a terminal, there as `short` if given."""
        if self._live:
            self._live.update(self._live.task_ids[0], description=(short or line).strip())
        else:
            self.say(line)

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

    @contextmanager
    def _live_line(self) -> Generator[None]:
        console = Console(file=self.out)
        if not console.is_terminal:
            yield
            return
        text = TextColumn("{task.description}", markup=False)
        columns = (TextColumn("       "), SpinnerColumn(), TimeElapsedColumn(), text)
        with Progress(*columns, console=console, transient=True) as self._live:
            self._live.add_task("")
            try:
                yield
            finally:
                self._live, shown = None, self._live
                shown.stop()

    def _print(self, text: str) -> None:
        if self._live:  # above the live line
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.out, flush=True)
