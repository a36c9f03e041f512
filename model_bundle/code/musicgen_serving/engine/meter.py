"""What the engine does, in one line of the log a minute."""

import time

import torch

from musicgen_serving.json_log import JsonLog

REPORT_SECONDS = 60.0


class Meter:
    """Counts steps and tokens since the last report."""

    def __init__(self, log: JsonLog) -> None:
        self._log = log
        self._begin()

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._steps = 0
        self._tokens = 0
        self._busy = 0.0

    @property
    def seconds_to_report(self) -> float:
        """Until the next report is due."""
        return self._since + REPORT_SECONDS - time.monotonic()

    def count(self, clips: int, seconds: float) -> None:
        """Note one step over so many clips: a token of every codebook for each."""
        self._steps += 1
        self._tokens += clips
        self._busy += seconds

    def report(self, in_flight: int, free_slots: int, *, waiting: int, queue_age: float) -> None:
        """Write the line and begin anew; tokens per second are over the time that steps took."""
        self._log.write(
            "engine",
            in_flight=in_flight,
            free_slots=free_slots,
            waiting=waiting,
            queue_age_seconds=round(queue_age, 3),
            steps=self._steps,
            tokens_per_second=round(self._tokens / self._busy, 1) if self._busy else 0.0,
            busy_seconds=round(self._busy, 3),
            device_memory_bytes=torch.cuda.memory_allocated() if torch.cuda.is_available() else None,
        )
        self._begin()
