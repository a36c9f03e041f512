"""A clock of the staging code that waiting alone moves on."""

from dataclasses import dataclass, field


@dataclass
class WaitingClock:
    """Seconds, and the waits so far."""

    time: float = 0.0
    waits: list[float] = field(default_factory=list[float])

    def now(self) -> float:
        """Return the time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.waits.append(seconds)
        self.time += seconds
