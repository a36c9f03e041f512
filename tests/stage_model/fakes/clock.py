"""A clock that advances only by sleeping."""

from dataclasses import dataclass, field


@dataclass
class WaitingClock:
    """The time in seconds, and all waits so far."""

    time: float = 0.0
    waits: list[float] = field(default_factory=list[float])

    def now(self) -> float:
        """Return the time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds
