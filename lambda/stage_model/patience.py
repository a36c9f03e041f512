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
    """How long failing attempts may go on: `stall_s` seconds without progress, not past `deadline` (epoch seconds).

    Waits that the other side asks for come on top, at most `asked_s` seconds without progress: three windows of the
    Hub's rate limit.
    """

    clock: Clock
    deadline: float
    stall_s: float = 120.0
    first_wait_s: float = 0.2
    longest_wait_s: float = 8.0
    asked_s: float = 900.0

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
        self._asked_s = 0.0

    def wait_after(self, error: TransientError) -> None:
        """Wait before the next attempt, as long as the other side asked for, else with exponential back-off and jitter.

        Raises StalledError when nothing has moved for too long, and OutOfTimeError at the deadline: not before it, or
        a fresh invocation would ask at once where this one was asked to wait.
        """
        clock, patience = self._patience.clock, self._patience
        now, wait_s = clock.now(), self._wait_s * random.uniform(0.5, 1.0)
        if error.retry_after_s is not None:
            wait_s = max(wait_s, error.retry_after_s)
            self._asked_s += wait_s
        if self._asked_s > patience.asked_s or now + wait_s - self._since - self._asked_s > patience.stall_s:
            asked = f", asking for {wait_s:.0f} s more" if error.retry_after_s else ""
            raise StalledError(f"gave up after {now - self._since:.0f} s without progress: {error}{asked}") from error
        clock.sleep(max(0.0, min(wait_s, patience.deadline - now)))
        if now + wait_s >= patience.deadline:
            raise OutOfTimeError("the invocation's time is used up") from error
        self._wait_s = min(2 * self._wait_s, patience.longest_wait_s)


def persist(patience: Patience, operation: Callable[[], T]) -> T:
    """Run `operation` until it stops raising TransientError, within the patience given."""
    attempts = patience.start()
    while True:
        patience.check_deadline()
        try:
            return operation()
        except TransientError as error:
            attempts.wait_after(error)
