"""Retries budgeted by progress and deadline, not by a count.

A fixed number of attempts fails big transfers under a steady error rate (a cap of six failed one run in four at 58 %
injected faults), although each of them moves forward. So an operation goes on as long as bytes arrive now and then.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from stage_model.clock import Clock
from stage_model.errors import OutOfTimeError, StalledError, TransientError

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long failing attempts may go on: `stall_s` seconds without progress, not past `deadline` (epoch seconds)."""

    clock: Clock
    deadline: float
    stall_s: float = 120.0
    first_wait_s: float = 0.2
    longest_wait_s: float = 8.0

    def check_deadline(self) -> None:
        """Raise OutOfTimeError once the deadline is reached."""
        if self.clock.now() >= self.deadline:
            raise OutOfTimeError("the invocation's time is used up")

    def start(self) -> "Attempts":
        """Begin one operation's attempts."""
        return Attempts(self)


class Attempts:
    """The attempts of one operation."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.progressed()

    def progressed(self) -> None:
        """Note that the operation moved forward: the budget starts anew."""
        self._since = self._patience.clock.now()
        self._wait_s = self._patience.first_wait_s

    def wait_after(self, error: TransientError) -> None:
        """Wait before the next attempt, as long as the other side asked for, else with exponential back-off and jitter.

        Raises StalledError when nothing has moved for too long, OutOfTimeError when the wait would pass the deadline.
        """
        clock, wait_s = self._patience.clock, self._wait_s * random.uniform(0.5, 1.0)
        if error.retry_after_s is not None:
            wait_s = max(wait_s, error.retry_after_s)
        if clock.now() + wait_s >= self._patience.deadline:
            raise OutOfTimeError("the invocation's time is used up") from error
        if clock.now() + wait_s - self._since > self._patience.stall_s:
            raise StalledError(f"gave up after {clock.now() - self._since:.0f} s without progress: {error}") from error
        clock.sleep(wait_s)
        self._wait_s = min(2 * self._wait_s, self._patience.longest_wait_s)


def persist(patience: Patience, operation: Callable[[], T]) -> T:
    """Run `operation` until it stops raising TransientError, within the patience given."""
    attempts = patience.start()
    while True:
        patience.check_deadline()
        try:
            return operation()
        except TransientError as error:
            attempts.wait_after(error)
