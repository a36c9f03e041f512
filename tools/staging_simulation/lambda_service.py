"""Lambda's asynchronous invocations: at least once, late, twice at a time, retried after a crash, ended in time."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from staging_simulation.faults import Faults
from staging_simulation.scheduler import Scheduler, Task

MAX_EVENT_AGE_S = 1800.0  # as the stack configures it
_RETRIES = 2


class LambdaService:
    """Delivers events to `function`, which is told the deadline in epoch seconds."""

    def __init__(
        self,
        scheduler: Scheduler,
        faults: Faults,
        timeout_s: float,
        function: Callable[[Mapping[str, Any], float], None],
    ) -> None:
        self._scheduler, self._faults, self._timeout_s, self._function = scheduler, faults, timeout_s, function
        self._numbers = itertools.count(1)
        self.exhausted: set[str] = set()  # requests whose last retry was lost

    def invoke(self, event: Mapping[str, Any]) -> None:
        """Take an event; it will be delivered, and perhaps delivered again."""
        draw = self._scheduler.random
        accepted = self._scheduler.time
        self._deliver(event, accepted, draw.uniform(0, 1), _RETRIES)
        if draw.random() < self._faults.duplicates:
            self._deliver(event, accepted, draw.choice([0.0, 1.0, 30.0, 90.0, 400.0, 1500.0]) * draw.random(), _RETRIES)

    def _deliver(self, event: Mapping[str, Any], accepted: float, delay: float, retries: int) -> None:
        deadline = self._scheduler.time + delay + self._timeout_s
        number = next(self._numbers)
        request = str(event["RequestId"])
        run = self._scheduler.spawn(f"run{number}:{request}", lambda: self._function(event, deadline), delay)
        self._scheduler.spawn(f"watch{number}", lambda: self._watch(run, deadline, event, accepted, retries), delay)

    def _watch(self, run: Task, deadline: float, event: Mapping[str, Any], accepted: float, retries: int) -> None:
        while not run.run.dead and not run.dead and self._scheduler.time < deadline:
            self._scheduler.pause(min(5.0, max(0.01, deadline - self._scheduler.time)))
        if run.run.dead and run.error is None and not run.dead:
            return
        self._scheduler.note(f"{run.name} ended badly: {run.error!r}")
        self._scheduler.kill(run)
        delay = self._scheduler.random.uniform(50, 130)
        if retries == 0 or self._scheduler.time + delay - accepted > MAX_EVENT_AGE_S:
            self.exhausted.add(str(event["RequestId"]))
            return
        self._deliver(event, accepted, delay, retries - 1)
