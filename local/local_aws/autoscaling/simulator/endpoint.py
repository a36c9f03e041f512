"""A simulated asynchronous endpoint: a queue, and instances that start slowly and drain before they end."""

from collections import deque
from dataclasses import dataclass

from local_aws.autoscaling.endpoint_metrics import Load
from local_aws.autoscaling.simulator.events import Events
from local_aws.autoscaling.simulator.work import Answer, Request, SimulatedInstance


@dataclass(frozen=True)
class Assumptions:
    """What the template does not say. Times in seconds.

    `startup`: from the wish for an instance to its first request; `ttl` and `invocation_timeout`: SageMaker's
    RequestTTLSeconds and InvocationTimeoutSeconds with their defaults.
    """

    startup: float
    ttl: float = 21_600.0
    invocation_timeout: float = 900.0


class SimulatedEndpoint:
    """A Variant for the controller. `concurrency`: requests that one instance works on at once."""

    def __init__(self, events: Events, assumptions: Assumptions, *, concurrency: int, instances: int) -> None:
        self._events = events
        self._assumptions = assumptions
        self._concurrency = concurrency
        self._waiting: deque[Request] = deque()
        self._desired = instances
        self._happened: dict[str, list[float]] = {}
        self.requests: list[Request] = []
        self.instances = [SimulatedInstance(events.now, in_service=True) for _ in range(instances)]

    @property
    def desired(self) -> int:
        """The instance count last asked for."""
        return self._desired

    @property
    def settled(self) -> bool:
        """Whether that many are in service."""
        return len(self.serving) == self._desired

    @property
    def alive(self) -> list[SimulatedInstance]:
        """Instances that are paid for."""
        return [instance for instance in self.instances if instance.ended_at is None]

    @property
    def serving(self) -> list[SimulatedInstance]:
        """Instances that take requests."""
        return [instance for instance in self.alive if instance.in_service and not instance.draining]

    @property
    def backlog(self) -> int:
        """Requests waiting or running."""
        return len(self._waiting) + sum(len(instance.running) for instance in self.alive)

    def load(self) -> Load:
        """The endpoint now, and the events since the call before."""
        happened, self._happened = self._happened, {}
        busy = tuple(100.0 * len(instance.running) / self._concurrency for instance in self.serving)
        return Load(self.backlog, self._oldest_age(), busy, happened)

    def receive(self, seconds: float) -> None:
        """A request arrives that takes `seconds` to work on."""
        request = Request(self._events.now, seconds)
        self.requests.append(request)
        self._waiting.append(request)
        self._events.after(self._assumptions.ttl, lambda: self._expire(request))
        self._dispatch()

    def set_desired(self, count: int) -> None:
        """Launches instances, or ends some: those that do not serve yet, then idle ones; busy ones drain."""
        self._desired = count
        present = [instance for instance in self.alive if not instance.draining]
        for _ in range(count - len(present)):
            self._launch()
        surplus = sorted(present, key=lambda instance: (instance.in_service, len(instance.running)))
        for instance in surplus[: max(len(present) - count, 0)]:
            instance.draining = True
            self._end_if_idle(instance)

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
        self._happened.setdefault("TimeInBacklog", []).append((self._events.now - request.arrived_at) * 1e3)
        instance.running.append(request)
        in_time = request.seconds <= self._assumptions.invocation_timeout

        def finish() -> None:
            instance.running.remove(request)
            self._answer(request, "Completed" if in_time else "Failed")
            self._end_if_idle(instance)
            self._dispatch()

        self._events.after(min(request.seconds, self._assumptions.invocation_timeout), finish)

    def _expire(self, request: Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
            self._answer(request, "Expired")

    def _answer(self, request: Request, answer: Answer) -> None:
        request.answers.append(answer)
        request.answered_at = self._events.now
        name = {"Completed": "InvocationsProcessed", "Failed": "InvocationFailures", "Expired": "ExpiredRequests"}
        self._happened.setdefault(name[answer], []).append(1.0)
        self._happened.setdefault("TotalProcessingTime", []).append(request.time_to_result * 1e3)

    def _end_if_idle(self, instance: SimulatedInstance) -> None:
        if instance.draining and not instance.running:
            instance.ended_at = self._events.now

    def _oldest_age(self) -> float:
        return self._events.now - self._waiting[0].arrived_at if self._waiting else 0.0
