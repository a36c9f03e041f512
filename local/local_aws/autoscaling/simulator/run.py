"""Runs the controller on a simulated endpoint through a load, until all is answered and the instances are gone."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from local_aws.autoscaling.controller import PERIOD_SECONDS, Controller, Minute
from local_aws.autoscaling.scaling import Scaling
from local_aws.autoscaling.simulator.endpoint import Assumptions, SimulatedEndpoint
from local_aws.autoscaling.simulator.events import Events
from local_aws.autoscaling.simulator.work import Request, SimulatedInstance

_LINGER_SECONDS = 4 * 3600.0  # an endpoint that is not at zero so long after the last answer never will be


@dataclass(frozen=True)
class Work:
    """One request: when it comes and how long it takes, in seconds."""

    at: float
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """A run's requests, instances and minutes; `ended_at` in seconds."""

    requests: list[Request]
    instances: list[SimulatedInstance]
    minutes: list[Minute]
    ended_at: float

    @property
    def instance_seconds(self) -> float:
        """What was paid for, summed over the instances."""
        return sum(instance.billed(self.ended_at) for instance in self.instances)

    @property
    def at_zero(self) -> bool:
        """Whether no instance was left at the end."""
        return all(instance.ended_at is not None for instance in self.instances)


def simulate(
    scaling: Scaling, work: Sequence[Work], assumptions: Assumptions, *, concurrency: int, instances: int
) -> Outcome:
    """Starts with `instances` in service; ends once every request is answered and no instance is left, or at the latest
    four hours after the last request was answered or, unanswered, has expired."""
    events = Events()
    endpoint = SimulatedEndpoint(events, assumptions, concurrency=concurrency, instances=instances)
    controller = Controller(scaling, endpoint)
    minutes: list[Minute] = []
    last_arrival = max((item.at for item in work), default=0.0)

    def tick() -> None:
        minutes.append(controller.tick(events.now))
        events.after(PERIOD_SECONDS, tick)

    def done() -> bool:
        if events.now < last_arrival or endpoint.backlog or not minutes or len(endpoint.requests) < len(work):
            return False
        answered_at = max((request.answered_at or 0.0 for request in endpoint.requests), default=0.0)
        return not endpoint.alive or events.now > max(answered_at, last_arrival) + _LINGER_SECONDS

    events.after(PERIOD_SECONDS, tick)
    for item in work:
        events.at(item.at, functools.partial(endpoint.receive, item.seconds))
    events.run(done)
    return Outcome(endpoint.requests, endpoint.instances, minutes, events.now)
