"""The controller's clock: minutes that are as long as one factor says."""

import math
import threading
import time

from local_aws.autoscaling.controller import PERIOD_SECONDS

CLOCK_FACTOR = "LOCAL_AWS_CLOCK_FACTOR"
_FASTEST = 600.0  # ten minutes a second: what follows in a minute needs some time itself


class Pace:
    """Counts minutes. Each takes 60 seconds divided by `factor`, or longer where the machine is busy.

    `now` is in seconds of this clock; it starts at 0 and is a whole number of minutes.
    """

    def __init__(self, factor: float) -> None:
        if not (math.isfinite(factor) and 1 <= factor <= _FASTEST):
            raise ValueError(f"{CLOCK_FACTOR} must be 1 to {_FASTEST:g}, got {factor:g}")
        self.factor = factor
        self.now = 0.0
        self._due = time.monotonic()

    def next_minute(self, stopped: threading.Event) -> bool:
        """Waits for the end of the minute; False, at once, when `stopped` is set."""
        # From when the last minute ended, not from when its work was done; but a minute missed is not made up for.
        self._due = max(self._due + PERIOD_SECONDS / self.factor, time.monotonic())
        if stopped.wait(self._due - time.monotonic()):
            return False
        self.now += PERIOD_SECONDS
        return True
