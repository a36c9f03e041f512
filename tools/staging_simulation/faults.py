"""What goes wrong in one schedule, and how often: all drawn from the seed."""

from staging_simulation.scheduler import Scheduler

_LONGEST_TRAVEL_S = 12.0  # a request's way; the clients give up on slower ones, as boto3's time-outs do
_LONGEST_STOP_S = 200.0  # how long a run may stand still between two requests: longer than a lease


class Faults:
    """A schedule's weather. Calm schedules occur too, so that unneeded failures show."""

    def __init__(self, scheduler: Scheduler) -> None:
        draw = scheduler.random
        self._scheduler = scheduler
        self.calm = draw.random() < 0.15
        worst = 0.0 if self.calm else draw.choice([0.0, 0.02, 0.1, 0.3])
        self._lost_request = worst * draw.random()
        self._lost_answer = worst * draw.random()
        self._slow = 0.0 if self.calm else draw.choice([0.0, 0.05, 0.3])
        self._stops = 0.0 if self.calm else draw.choice([0.0, 0.0, 0.02])
        self._crash = 0.0 if self.calm else draw.choice([0.0, 0.0, 0.002, 0.01])
        self._damage = 0.0 if self.calm else draw.choice([0.0, 0.0, 0.05])
        self.duplicates = 0.0 if self.calm else draw.choice([0.0, 0.2, 0.6])
        self._damage_at_source = 0.0 if self.calm else draw.choice([0.0, 0.0, 0.0, 0.05])
        self.wrong_source = not self.calm and draw.random() < 0.08
        self.unlike_etags = draw.random() < 0.5  # as with SSE-KMS: equal parts, other ETags
        self.exportable = draw.random() < 0.7

    def travel(self) -> None:
        """Take as long as a message takes."""
        self._maybe_crash()
        draw = self._scheduler.random
        slow = draw.random() < self._slow
        self._scheduler.pause(draw.uniform(0, _LONGEST_TRAVEL_S) if slow else draw.uniform(0, 0.2))
        self._maybe_crash()

    def work(self) -> None:
        """Take as long as a run takes between requests: sometimes far too long."""
        draw = self._scheduler.random
        self._maybe_crash()
        stops = draw.random() < self._stops
        self._scheduler.pause(draw.uniform(0, _LONGEST_STOP_S) if stops else draw.uniform(0, 0.5))

    def loses_request(self) -> bool:
        """Return whether a request never arrives."""
        return self._scheduler.random.random() < self._lost_request

    def loses_answer(self) -> bool:
        """Return whether an answer is never heard."""
        return self._scheduler.random.random() < self._lost_answer

    def damage(self, data: bytes) -> bytes:
        """Return the bytes as they arrive: one bit may have flipped."""
        return self._damaged(data, self._damage)

    def damage_at_source(self, data: bytes) -> bytes:
        """Return the bytes of a published file as they arrive, which nothing but their SHA-256 protects."""
        return self._damaged(data, self._damage_at_source)

    def _damaged(self, data: bytes, odds: float) -> bytes:
        if not data or self._scheduler.random.random() >= odds:
            return data
        at = self._scheduler.random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    def _maybe_crash(self) -> None:
        task = self._scheduler.current
        if task is not None and task.name.startswith("run") and self._scheduler.random.random() < self._crash:
            self._scheduler.note("killed")
            self._scheduler.kill(task)
