"""Deterministic concurrency and faults, all drawn from one seed.

Tasks are greenlets that run one at a time and yield at every external call.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from greenlet import GreenletExit, getcurrent, greenlet

_MAX_LATENCY_S = 12.0  # one way; clients give up on slower requests, as with boto3's timeouts
_MAX_SUSPENSION_S = 200.0  # of a run between two requests: longer than a lease


@dataclass
class Task:
    """A greenlet, its next wake-up (virtual seconds), and whether it was killed."""

    name: str
    number: int
    run: greenlet
    wakes: float
    dead: bool = False
    error: BaseException | None = None


class Scheduler:
    """Runs tasks in the order of a virtual clock."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.time = 1_700_000_000.0
        self.current: Task | None = None
        self.trace: list[str] = []
        self._tasks: list[Task] = []
        self._sleeping: list[tuple[float, int]] = []  # a heap of when tasks wake, and their indices in `_tasks`
        self._hub = getcurrent()

    def spawn(self, name: str, function: Callable[[], None], delay: float = 0.0) -> Task:

        def body() -> None:
            try:
                function()
            except GreenletExit:
                return
            except Exception as error:  # for the caller to inspect
                task.error = error

        task = Task(name, len(self._tasks), greenlet(body, self._hub), self.time + delay)
        self._tasks.append(task)
        heapq.heappush(self._sleeping, (task.wakes, task.number))
        return task

    def pause(self, seconds: float) -> None:
        """Suspend the current task, which must call this itself."""
        task = self.current
        assert task is not None
        if task.dead:
            raise GreenletExit
        task.wakes = self.time + seconds
        if not self._sleeping or (task.wakes, task.number) < self._sleeping[0]:
            self.time = max(self.time, task.wakes)  # no other task wakes before this one
            return
        heapq.heappush(self._sleeping, (task.wakes, task.number))
        self._hub.switch()
        if task.dead:
            raise GreenletExit

    def kill(self, task: Task) -> None:
        """End a task as `kill -9` does: it makes no further external call."""
        task.dead = True
        if task is self.current:
            self._hub.switch()
            raise GreenletExit  # resumed only to unwind, at the end of the schedule

    def run(self) -> None:
        """Run until no task is left."""
        while self._sleeping:
            task = self._tasks[heapq.heappop(self._sleeping)[1]]
            if task.dead:
                continue
            self.time = max(self.time, task.wakes)
            self.current = task
            task.run.switch()
            self.current = None
        for task in self._tasks:  # unwind the killed ones; external calls raise GreenletExit
            if task.run.dead:
                continue
            self.current = task
            task.run.throw(GreenletExit)
        self.current = None

    def note(self, text: str) -> None:
        """Add an entry to the trace of the schedule."""
        name = self.current.name if self.current else "-"
        self.trace.append(f"{self.time - 1_700_000_000:9.2f} {name:14} {text}")


class VirtualClock:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def now(self) -> float:
        return self._scheduler.time

    def sleep(self, seconds: float) -> None:
        self._scheduler.pause(seconds)


class Faults:
    """The faults of one schedule. Some schedules have none, so that needless failures are detected."""

    def __init__(self, scheduler: Scheduler) -> None:
        draw = scheduler.random
        self._scheduler = scheduler
        self.none = draw.random() < 0.15
        worst = 0.0 if self.none else draw.choice([0.0, 0.02, 0.1, 0.3])
        self._lost_request = worst * draw.random()
        self._lost_reply = worst * draw.random()
        self._slow = 0.0 if self.none else draw.choice([0.0, 0.05, 0.3])
        self._suspended = 0.0 if self.none else draw.choice([0.0, 0.0, 0.02])
        self._crash = 0.0 if self.none else draw.choice([0.0, 0.0, 0.002, 0.01])
        self._damage = 0.0 if self.none else draw.choice([0.0, 0.0, 0.05])
        self.duplicates = 0.0 if self.none else draw.choice([0.0, 0.2, 0.6])
        self._damage_at_source = 0.0 if self.none else draw.choice([0.0, 0.0, 0.0, 0.05])
        self.corrupt_source = not self.none and draw.random() < 0.08
        self.random_etags = draw.random() < 0.5  # as with SSE-KMS: equal parts have different ETags
        self.exportable = draw.random() < 0.7

    def transmit(self) -> None:
        """Wait for the latency of a message."""
        self._maybe_crash()
        draw = self._scheduler.random
        slow = draw.random() < self._slow
        self._scheduler.pause(draw.uniform(0, _MAX_LATENCY_S) if slow else draw.uniform(0, 0.2))
        self._maybe_crash()

    def work(self) -> None:
        """Wait as long as a run takes between requests: sometimes far too long."""
        draw = self._scheduler.random
        self._maybe_crash()
        suspended = draw.random() < self._suspended
        self._scheduler.pause(draw.uniform(0, _MAX_SUSPENSION_S) if suspended else draw.uniform(0, 0.5))

    def loses_request(self) -> bool:
        return self._scheduler.random.random() < self._lost_request

    def loses_reply(self) -> bool:
        return self._scheduler.random.random() < self._lost_reply

    def damage(self, data: bytes) -> bytes:
        """Return the bytes of a part as received, possibly with one bit flipped."""
        return self._damaged(data, self._damage)

    def damage_at_source(self, data: bytes) -> bytes:
        """Return the bytes of a published file as received: only their SHA-256 protects them."""
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
