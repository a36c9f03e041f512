"""Traffic patterns from zero to the maximum capacity and back, with the deployed policies in virtual time."""

import math
from typing import Any

import pytest

from local_aws.autoscaling.rules.template import Template, read_endpoint, read_scaling
from local_aws.autoscaling.simulator.simulated_endpoint import Assumptions, EventQueue, SimulatedEndpoint
from local_aws.autoscaling.simulator.simulation import Arrival, SimulationResult, simulate
from local_aws.autoscaling.simulator.traffic import HOUR, PATTERNS, Traffic, arrival_times
from local_aws.autoscaling.template_checks import Declared


@pytest.fixture(scope="module", params=["one", "four"])
def declared(request: pytest.FixtureRequest, synthesised: dict[str, Any]) -> Declared:
    return declared_by(synthesised[request.param])


def declared_by(body: dict[str, Any]) -> Declared:
    template = Template(body)
    return Declared(template, read_scaling(template), read_endpoint(template))


def interrupted(result: SimulationResult) -> list[float]:
    """Return the start times of the requests that did not run for their full time on an instance."""
    return [
        request.started_at or math.nan
        for request in result.requests
        if request.started_at is None or request.finished_at != request.started_at + request.seconds
    ]


@pytest.mark.parametrize("seed", [1, 20, 300])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_is_served_and_ends_at_zero(declared: Declared, pattern: str, seed: int) -> None:
    result = declared.simulate_pattern(pattern, seed=seed)
    before_load = [minute for minute in result.minutes if minute.at <= HOUR]
    assert before_load[0].instances == 1
    assert before_load[-1].instances == 0  # scaled to zero before the first request
    assert [request.outcomes for request in result.requests] == [["Completed"]] * len(result.requests)
    assert interrupted(result) == []
    assert result.at_zero


def test_burst_reaches_the_maximum_capacity_and_single_request_needs_one_instance(synthesised: dict[str, Any]) -> None:
    declared = declared_by(synthesised["four"])
    peaks = {
        pattern: max(minute.instances for minute in declared.simulate_pattern(pattern).minutes if minute.at > HOUR)
        for pattern in ("single", "burst")
    }
    assert peaks == {"single": 1, "burst": 4}


def test_wake_up_takes_two_datapoints_and_the_startup(declared: Declared) -> None:
    arrivals = [Arrival(90.0, 60.0)]  # in the second minute: sampled at 120 and 180 s
    concurrency, assumptions = declared.endpoint.concurrency, Assumptions(startup=300.0)
    result = simulate(declared.scaling, arrivals, assumptions, concurrency=concurrency, instances=0)
    assert result.requests[0].started_at == 180.0 + 300.0


def test_patterns_have_the_documented_shapes() -> None:
    traffic = Traffic(60, 6, seed=5)
    times = {pattern: arrival_times(pattern, traffic) for pattern in PATTERNS}
    assert len(times["single"]) == 1
    assert len(times["burst"]) == 360
    assert times["burst"][-1] <= 30.0
    assert all(list(sorted(found)) == found for found in times.values())
    for pattern in ("steady", "sawtooth", "trickle"):
        assert len(times[pattern]) == pytest.approx(360, rel=0.2)
    rising = [at % (2 * HOUR) for at in times["sawtooth"]]
    assert sum(at > HOUR for at in rising) > 2 * sum(at <= HOUR for at in rising)
    gaps = [later - earlier for earlier, later in zip(times["trickle"], times["trickle"][1:], strict=False)]
    assert min(gaps) >= 30.0
    assert max(gaps) <= 90.0


def test_same_seed_gives_same_traffic() -> None:
    assert arrival_times("steady", Traffic(60, 2, seed=9)) == arrival_times("steady", Traffic(60, 2, seed=9))
    assert arrival_times("steady", Traffic(60, 2, seed=9)) != arrival_times("steady", Traffic(60, 2, seed=8))


@pytest.mark.parametrize(("rate", "hours"), [(0, 1), (-1, 1), (1, 0), (1e6, 2)])
def test_traffic_is_limited(rate: float, hours: float) -> None:
    with pytest.raises(ValueError, match="rate x hours must be more than 0 and at most 1,000,000 requests"):
        Traffic(rate, hours)


def test_unknown_pattern_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"pattern must be one of single, burst, .*, got storm"):
        arrival_times("storm", Traffic(1, 1))


def endpoint_with(instances: int, **assumptions: float) -> tuple[EventQueue, SimulatedEndpoint]:
    events = EventQueue()
    settings = Assumptions(**{"startup": 300.0, **assumptions})
    return events, SimulatedEndpoint(events, settings, concurrency=2, instances=instances)


def test_busy_instances_drain_and_idle_ones_end_first() -> None:
    events, endpoint = endpoint_with(2)
    endpoint.receive(100.0)
    endpoint.set_desired(1)
    assert [len(instance.running) for instance in endpoint.serving] == [1]
    endpoint.set_desired(0)
    assert endpoint.serving == []
    assert endpoint.settled
    assert len(endpoint.alive) == 1  # drains
    events.run(lambda: not endpoint.alive)
    assert events.now == 100.0
    assert endpoint.requests[0].outcomes == ["Completed"]


def test_instance_runs_as_many_requests_as_its_concurrency() -> None:
    events, endpoint = endpoint_with(1)
    for _ in range(5):
        endpoint.receive(60.0)
    events.run(lambda: endpoint.backlog == 0)
    assert [request.started_at for request in endpoint.requests] == [0.0, 0.0, 60.0, 60.0, 120.0]


def test_request_expires_in_the_queue_but_not_on_an_instance() -> None:
    events, endpoint = endpoint_with(1, ttl=90.0)
    for _ in range(4):
        endpoint.receive(100.0)
    events.run(lambda: endpoint.backlog == 0)
    assert [request.outcomes for request in endpoint.requests] == [["Completed"]] * 2 + [["Expired"]] * 2
    events = endpoint.load().events
    assert (events["InvocationsProcessed"], events["ExpiredRequests"]) == ([1.0, 1.0], [1.0, 1.0])
    assert sorted(events["TotalProcessingTime"]) == [90_000.0, 90_000.0, 100_000.0, 100_000.0]  # milliseconds
    assert endpoint.load().events == {}


def test_invocation_fails_at_its_timeout() -> None:
    events, endpoint = endpoint_with(1, invocation_timeout=50.0)
    endpoint.receive(100.0)
    events.run(lambda: endpoint.backlog == 0)
    assert (endpoint.requests[0].outcomes, endpoint.requests[0].time_to_result) == (["Failed"], 50.0)


def test_instance_removed_while_starting_never_enters_service() -> None:
    events, endpoint = endpoint_with(0)
    endpoint.set_desired(1)
    endpoint.set_desired(0)
    events.run(lambda: False)
    assert endpoint.alive == []
    assert endpoint.instances[0].billed(events.now) == 0.0
