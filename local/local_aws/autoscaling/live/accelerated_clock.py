"""The autoscaling clock of the embedded AWS, which runs faster than real time by a factor."""

import math
import threading
import time

from local_aws.autoscaling.rules.controller import PERIOD_SECONDS

CLOCK_FACTOR = "LOCAL_AWS_CLOCK_FACTOR"
_MAX_FACTOR = 600.0  # ten minutes a second: the work of each minute needs some real time


class AcceleratedClock:
    """Count minutes that take 60 seconds divided by `factor`, or longer on a busy machine.

    `now` is in seconds of this clock; it starts at 0 and is a whole number of minutes.
    """

    def __init__(self, factor: float) -> None:
        if not (math.isfinite(factor) and 1 <= factor <= _MAX_FACTOR):
            raise ValueError(f"{CLOCK_FACTOR} must be 1 to {_MAX_FACTOR:g}, got {factor:g}")
        self.factor = factor
        self.now = 0.0
        self._due = time.monotonic()

    def next_minute(self, stopped: threading.Event) -> bool:
        """Wait for the end of the minute. Return False, at once, when `stopped` is set."""
        # Count from the end of the previous minute, not of its work; a missed minute is not made up.
        self._due = max(self._due + PERIOD_SECONDS / self.factor, time.monotonic())
        if stopped.wait(self._due - time.monotonic()):
            return False
        self.now += PERIOD_SECONDS
        return True
