"""Deterministic concurrency: tasks are greenlets that run one at a time and give way at every call to the outside."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from greenlet import GreenletExit, getcurrent, greenlet


@dataclass
class Task:
    """A greenlet, when it goes on (virtual seconds), and whether it was killed."""

    name: str
    run: greenlet
    wakes: float
    dead: bool = False
    error: BaseException | None = None


class Scheduler:
    """Runs tasks in the order of a virtual clock whose delays come from the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.time = 1_700_000_000.0
        self.current: Task | None = None
        self.trace: list[str] = []
        self._tasks: list[Task] = []
        self._hub = getcurrent()

    def spawn(self, name: str, function: Callable[[], None], delay: float = 0.0) -> Task:
        """Begin a task after `delay` seconds."""

        def body() -> None:
            try:
                function()
            except GreenletExit:
                return
            except Exception as error:  # looked at by whoever spawned it
                task.error = error

        task = Task(name, greenlet(body, self._hub), self.time + delay)
        self._tasks.append(task)
        return task

    def pause(self, seconds: float) -> None:
        """Let other tasks run for so long. Called by tasks only."""
        task = self.current
        assert task is not None
        if task.dead:
            raise GreenletExit
        task.wakes = self.time + seconds
        self._hub.switch()
        if task.dead:
            raise GreenletExit

    def kill(self, task: Task) -> None:
        """End a task as kill -9 does: nothing of it runs any more that could touch the outside."""
        task.dead = True
        if task is self.current:
            self._hub.switch()
            raise GreenletExit  # at the end of the schedule, when nothing matters any more

    def run(self) -> None:
        """Run until no task is left."""
        while live := [task for task in self._tasks if not task.run.dead and not task.dead]:
            task = min(live, key=lambda t: t.wakes)
            self.time = max(self.time, task.wakes)
            self.current = task
            task.run.switch()
            self.current = None
            self._tasks = [t for t in self._tasks if not t.run.dead]
        for task in self._tasks:  # killed ones unwind; every call outside raises GreenletExit
            self.current = task
            task.run.throw(GreenletExit)
        self.current = None

    def note(self, text: str) -> None:
        """Remember what happened, for a failing seed's report."""
        name = self.current.name if self.current else "-"
        self.trace.append(f"{self.time - 1_700_000_000:9.2f} {name:14} {text}")


class VirtualClock:
    """The scheduler's time, as staging's `Clock`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._scheduler.time

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._scheduler.pause(seconds)
