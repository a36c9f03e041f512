"""Retries bounded by progress and a deadline, not by a count.

A fixed number of attempts fails large transfers under a steady error rate (a limit of six failed one run in four at
58 % injected faults), although every attempt makes progress. So an operation is retried as long as bytes keep arriving.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from stage_model.errors import OutOfTimeError, StalledError, TransientError

T = TypeVar("T")


class Clock(Protocol):
    """The time source; the simulation replaces it with a virtual one."""

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        ...

    def sleep(self, seconds: float) -> None:
        """Suspend the caller."""
        ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class RetryBudget:
    """How long failed attempts may be repeated: `stall_s` seconds without progress, never past `deadline` (epoch s).

    Waits that the server requests are added, up to `max_retry_after_s` without progress: three windows of the Hub's
    rate limit.
    """

    clock: Clock
    deadline: float
    stall_s: float = 120.0
    base_delay_s: float = 0.2
    max_delay_s: float = 8.0
    max_retry_after_s: float = 900.0

    def check_deadline(self) -> None:
        """Raise OutOfTimeError once the deadline has passed."""
        if self.clock.now() >= self.deadline:
            raise OutOfTimeError("the invocation is out of time")

    def attempts(self) -> "Attempts":
        """Return the attempt counter of a new operation."""
        return Attempts(self)


class Attempts:
    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self.progressed()

    def progressed(self) -> None:
        """Reset the budget after progress."""
        self._since = self._budget.clock.now()
        self._delay_s = self._budget.base_delay_s
        self._retry_after_s = 0.0

    def wait_after(self, error: TransientError) -> None:
        """Sleep before the next attempt: the server's Retry-After, else exponential back-off with jitter.

        Raises StalledError after too long without progress, and OutOfTimeError at the deadline but not earlier: the
        next invocation would otherwise send at once the request that the server asked to delay.
        """
        clock, budget = self._budget.clock, self._budget
        now, delay_s = clock.now(), self._delay_s * random.uniform(0.5, 1.0)
        if error.retry_after_s is not None:
            delay_s = max(delay_s, error.retry_after_s)
            self._retry_after_s += delay_s
        stalled_s = now + delay_s - self._since - self._retry_after_s
        if self._retry_after_s > budget.max_retry_after_s or stalled_s > budget.stall_s:
            asked = f", asking for {delay_s:.0f} s more" if error.retry_after_s else ""
            raise StalledError(f"gave up after {now - self._since:.0f} s without progress: {error}{asked}") from error
        clock.sleep(max(0.0, min(delay_s, budget.deadline - now)))
        if now + delay_s >= budget.deadline:
            raise OutOfTimeError("the invocation is out of time") from error
        self._delay_s = min(2 * self._delay_s, budget.max_delay_s)


def retry(budget: RetryBudget, operation: Callable[[], T]) -> T:
    """Call `operation` until it stops raising TransientError, within the budget."""
    attempts = budget.attempts()
    while True:
        budget.check_deadline()
        try:
            return operation()
        except TransientError as error:
            attempts.wait_after(error)
