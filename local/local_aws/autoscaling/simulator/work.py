"""What the simulated endpoint keeps of its requests and instances. All times in seconds of virtual time."""

import math
from dataclasses import dataclass, field
from typing import Literal

Answer = Literal["Completed", "Failed", "Expired"]


@dataclass(eq=False)
class Request:
    """One request, which takes `seconds` once an instance works on it."""

    arrived_at: float
    seconds: float
    started_at: float | None = None
    answered_at: float | None = None
    answers: list[Answer] = field(default_factory=list[Answer])

    @property
    def time_to_result(self) -> float:
        """From arrival to answer; infinite while there is none."""
        return math.inf if self.answered_at is None else self.answered_at - self.arrived_at


@dataclass(eq=False)
class SimulatedInstance:
    """One instance. It costs money from its launch to its end, and takes requests once it is in service."""

    launched_at: float
    in_service: bool = False
    draining: bool = False
    ended_at: float | None = None
    running: list[Request] = field(default_factory=list[Request])

    def billed(self, now: float) -> float:
        """Seconds paid for by `now`."""
        return (now if self.ended_at is None else self.ended_at) - self.launched_at
