"""A simulated asynchronous endpoint: a queue, and instances that start slowly and drain before they end."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from local_aws.autoscaling.rules.autoscaler import Decision
from local_aws.autoscaling.rules.endpoint_metrics import EndpointLoad

Outcome = Literal["Completed", "Failed", "Expired"]
_METRICS: dict[Outcome, str] = {
    "Completed": "InvocationsProcessed",
    "Failed": "InvocationFailures",
    "Expired": "ExpiredRequests",
}


class EventQueue:
    """Virtual time that jumps from one event to the next; simultaneous events run in the order of scheduling."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Schedule `action` at `time` (seconds), or now if that has passed."""
        heapq.heappush(self._heap, (max(time, self.now), next(self._order), action))

    def after(self, delay: float, action: Callable[[], None]) -> None:
        self.at(self.now + delay, action)

    def run(self, done: Callable[[], bool]) -> None:
        """Run events until `done` or until none is left."""
        while self._heap and not done():
            self.now, _, action = heapq.heappop(self._heap)
            action()


@dataclass(eq=False)
class Request:
    """A request that takes `seconds` on an instance. All times in seconds of virtual time."""

    arrived_at: float
    seconds: float
    started_at: float | None = None
    finished_at: float | None = None
    outcomes: list[Outcome] = field(default_factory=list[Outcome])

    @property
    def time_to_result(self) -> float:
        """Seconds from arrival to result; infinite without one."""
        return math.inf if self.finished_at is None else self.finished_at - self.arrived_at


@dataclass(eq=False)
class SimulatedInstance:
    """An instance, billed from its launch to its end; it accepts requests once it is in service."""

    launched_at: float
    in_service: bool = False
    draining: bool = False
    ended_at: float | None = None
    running: list[Request] = field(default_factory=list[Request])

    def billed(self, now: float) -> float:
        """Return the seconds billed until `now`."""
        return (now if self.ended_at is None else self.ended_at) - self.launched_at


@dataclass(frozen=True)
class Assumptions:
    """Parameters that the template does not contain. Times in seconds.

    `startup`: from requesting an instance to its first request; `ttl` and `invocation_timeout`: SageMaker's
    RequestTTLSeconds and InvocationTimeoutSeconds, with their defaults.
    """

    startup: float
    ttl: float = 21_600.0
    invocation_timeout: float = 900.0


class SimulatedEndpoint:
    """A ScalableVariant. `concurrency`: requests that one instance runs at once."""

    def __init__(self, events: EventQueue, assumptions: Assumptions, *, concurrency: int, instances: int) -> None:
        self._events = events
        self._assumptions = assumptions
        self._concurrency = concurrency
        self._waiting: deque[Request] = deque()
        self._desired = instances
        self._metric_events: dict[str, list[float]] = {}
        self.requests: list[Request] = []
        self.instances = [SimulatedInstance(events.now, in_service=True) for _ in range(instances)]

    @property
    def desired(self) -> int:
        return self._desired

    @property
    def settled(self) -> bool:
        return len(self.serving) == self._desired

    @property
    def alive(self) -> list[SimulatedInstance]:
        """Instances that are billed."""
        return [instance for instance in self.instances if instance.ended_at is None]

    @property
    def serving(self) -> list[SimulatedInstance]:
        """Instances that accept requests."""
        return [instance for instance in self.alive if instance.in_service and not instance.draining]

    @property
    def backlog(self) -> int:
        """Requests waiting or running."""
        return len(self._waiting) + sum(len(instance.running) for instance in self.alive)

    def load(self) -> EndpointLoad:
        metric_events, self._metric_events = self._metric_events, {}
        busy = tuple(100.0 * len(instance.running) / self._concurrency for instance in self.serving)
        oldest_age = self._events.now - self._waiting[0].arrived_at if self._waiting else 0.0
        return EndpointLoad(self.backlog, oldest_age, busy, metric_events)

    def receive(self, seconds: float) -> None:
        """Queue a request that takes `seconds` on an instance."""
        request = Request(self._events.now, seconds)
        self.requests.append(request)
        self._waiting.append(request)

        def expire() -> None:
            if request in self._waiting:
                self._waiting.remove(request)
                self._finish(request, "Expired")

        self._events.after(self._assumptions.ttl, expire)
        self._dispatch()

    def apply(self, decision: Decision) -> None:
        self.set_desired(decision.desired)

    def set_desired(self, count: int) -> None:
        """Launch instances, or end some: first those not yet in service, then idle ones; busy ones drain."""
        self._desired = count
        present = [instance for instance in self.alive if not instance.draining]
        for _ in range(count - len(present)):
            self._launch()
        surplus = sorted(present, key=lambda instance: (instance.in_service, len(instance.running)))
        for instance in surplus[: max(len(present) - count, 0)]:
            instance.draining = True
            self._end_if_drained(instance)

    def _launch(self) -> None:
        instance = SimulatedInstance(self._events.now)
        self.instances.append(instance)

        def enter_service() -> None:
            instance.in_service = instance.ended_at is None
            self._dispatch()

        self._events.after(self._assumptions.startup, enter_service)

    def _dispatch(self) -> None:
        for instance in self.serving:
            while self._waiting and len(instance.running) < self._concurrency:
                self._start(self._waiting.popleft(), instance)

    def _start(self, request: Request, instance: SimulatedInstance) -> None:
        request.started_at = self._events.now
        self._metric_events.setdefault("TimeInBacklog", []).append((self._events.now - request.arrived_at) * 1e3)
        instance.running.append(request)
        timeout = self._assumptions.invocation_timeout

        def finish() -> None:
            instance.running.remove(request)
            self._finish(request, "Completed" if request.seconds <= timeout else "Failed")
            self._end_if_drained(instance)
            self._dispatch()

        self._events.after(min(request.seconds, timeout), finish)

    def _finish(self, request: Request, outcome: Outcome) -> None:
        request.outcomes.append(outcome)
        request.finished_at = self._events.now
        self._metric_events.setdefault(_METRICS[outcome], []).append(1.0)
        self._metric_events.setdefault("TotalProcessingTime", []).append(request.time_to_result * 1e3)

    def _end_if_drained(self, instance: SimulatedInstance) -> None:
        if instance.draining and not instance.running:
            instance.ended_at = self._events.now
