"""Simulate an endpoint under load until all requests have finished and no instance is left."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from local_aws.autoscaling.rules.controller import PERIOD_SECONDS, Controller, Minute
from local_aws.autoscaling.rules.scaling_config import ScalingConfig
from local_aws.autoscaling.simulator.simulated_endpoint import (
    Assumptions,
    EventQueue,
    Request,
    SimulatedEndpoint,
    SimulatedInstance,
)

_GIVE_UP_SECONDS = 4 * 3600.0  # an endpoint not at zero this long after its last result stays up forever


@dataclass(frozen=True)
class Arrival:
    """A request's arrival time, and the seconds that it takes on an instance."""

    at: float
    seconds: float


@dataclass(frozen=True)
class SimulationResult:
    """A simulation's requests, instances and minutes; `ended_at` in seconds."""

    requests: list[Request]
    instances: list[SimulatedInstance]
    minutes: list[Minute]
    ended_at: float

    @property
    def instance_seconds(self) -> float:
        """Billed seconds, summed over the instances."""
        return sum(instance.billed(self.ended_at) for instance in self.instances)

    @property
    def at_zero(self) -> bool:
        """Whether no instance was left at the end."""
        return all(instance.ended_at is not None for instance in self.instances)


def simulate(
    config: ScalingConfig, arrivals: Sequence[Arrival], assumptions: Assumptions, *, concurrency: int, instances: int
) -> SimulationResult:
    """Simulate from `instances` in service until all requests have finished and no instance is left.

    Give up four hours after the last request has finished or expired.
    """
    events = EventQueue()
    endpoint = SimulatedEndpoint(events, assumptions, concurrency=concurrency, instances=instances)
    controller = Controller(config, endpoint)
    minutes: list[Minute] = []
    last_arrival = max((arrival.at for arrival in arrivals), default=0.0)

    def tick() -> None:
        minutes.append(controller.tick(events.now))
        events.after(PERIOD_SECONDS, tick)

    def done() -> bool:
        if events.now < last_arrival or endpoint.backlog or not minutes or len(endpoint.requests) < len(arrivals):
            return False
        finished_at = max((request.finished_at or 0.0 for request in endpoint.requests), default=0.0)
        return not endpoint.alive or events.now > max(finished_at, last_arrival) + _GIVE_UP_SECONDS

    events.after(PERIOD_SECONDS, tick)
    for arrival in arrivals:
        events.at(arrival.at, functools.partial(endpoint.receive, arrival.seconds))
    events.run(done)
    return SimulationResult(endpoint.requests, endpoint.instances, minutes, events.now)
