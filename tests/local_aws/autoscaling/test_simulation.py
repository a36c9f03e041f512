"""Load patterns from zero to the most instances and back, on the deployed policies in virtual time."""

import math
from typing import Any

import pytest

from local_aws.autoscaling.deployed import DeployedEndpoint, read_endpoint, read_scaling
from local_aws.autoscaling.runs import run_pattern
from local_aws.autoscaling.scaling import Scaling
from local_aws.autoscaling.simulator.endpoint import Assumptions, SimulatedEndpoint
from local_aws.autoscaling.simulator.events import Events
from local_aws.autoscaling.simulator.loads import HOUR, PATTERNS, Traffic, arrivals
from local_aws.autoscaling.simulator.run import Outcome, Work, simulate
from local_aws.autoscaling.template import Template


@pytest.fixture(scope="module", params=["one", "four"])
def deployed(request: pytest.FixtureRequest, synthesised: dict[str, Any]) -> tuple[Scaling, DeployedEndpoint]:
    template = Template(synthesised[request.param])
    return read_scaling(template), read_endpoint(template)


def killed(outcome: Outcome) -> list[float]:
    """Starts of the requests that were answered other than after their own time on an instance."""
    return [
        request.started_at or math.nan
        for request in outcome.requests
        if request.started_at is None or request.answered_at != request.started_at + request.seconds
    ]


@pytest.mark.parametrize("seed", [1, 20, 300])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_is_served_and_ends_at_zero(
    deployed: tuple[Scaling, DeployedEndpoint], pattern: str, seed: int
) -> None:
    outcome = run_pattern(*deployed, pattern, seed=seed)
    before_load = [minute for minute in outcome.minutes if minute.at <= HOUR]
    assert before_load[0].instances == 1
    assert before_load[-1].instances == 0  # scaled to zero before the first request
    assert [request.answers for request in outcome.requests] == [["Completed"]] * len(outcome.requests)
    assert killed(outcome) == []
    assert outcome.at_zero


def test_burst_reaches_the_most_instances_and_single_needs_one(synthesised: dict[str, Any]) -> None:
    template = Template(synthesised["four"])
    peaks = {
        pattern: max(
            minute.instances
            for minute in run_pattern(read_scaling(template), read_endpoint(template), pattern).minutes
            if minute.at > HOUR
        )
        for pattern in ("single", "burst")
    }
    assert peaks == {"single": 1, "burst": 4}


def test_wake_takes_two_datapoints_and_the_start(deployed: tuple[Scaling, DeployedEndpoint]) -> None:
    scaling, endpoint = deployed
    work = [Work(90.0, 60.0)]  # in the second minute: seen at 120 and 180 s
    outcome = simulate(scaling, work, Assumptions(startup=300.0), concurrency=endpoint.concurrency, instances=0)
    assert outcome.requests[0].started_at == 180.0 + 300.0


def test_patterns_have_their_shapes() -> None:
    traffic = Traffic(60, 6, seed=5)
    times = {pattern: arrivals(pattern, traffic) for pattern in PATTERNS}
    assert len(times["single"]) == 1
    assert len(times["burst"]) == 360
    assert times["burst"][-1] <= 30.0
    assert all(list(sorted(found)) == found for found in times.values())
    for pattern in ("steady", "sawtooth", "trickle"):
        assert len(times[pattern]) == pytest.approx(360, rel=0.2)
    climbing = [at % (2 * HOUR) for at in times["sawtooth"]]
    assert sum(at > HOUR for at in climbing) > 2 * sum(at <= HOUR for at in climbing)
    gaps = [later - earlier for earlier, later in zip(times["trickle"], times["trickle"][1:], strict=False)]
    assert min(gaps) >= 30.0
    assert max(gaps) <= 90.0


def test_equal_seeds_give_equal_traffic() -> None:
    assert arrivals("steady", Traffic(60, 2, seed=9)) == arrivals("steady", Traffic(60, 2, seed=9))
    assert arrivals("steady", Traffic(60, 2, seed=9)) != arrivals("steady", Traffic(60, 2, seed=8))


@pytest.mark.parametrize(("rate", "hours"), [(0, 1), (-1, 1), (1, 0), (1e6, 2)])
def test_traffic_is_bounded(rate: float, hours: float) -> None:
    with pytest.raises(ValueError, match="rate x hours must be more than 0 and at most 1,000,000 requests"):
        Traffic(rate, hours)


def test_unknown_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pattern must be one of single, burst, .*, got storm"):
        arrivals("storm", Traffic(1, 1))


def endpoint_with(instances: int, **assumptions: float) -> tuple[Events, SimulatedEndpoint]:
    events = Events()
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
    assert endpoint.requests[0].answers == ["Completed"]


def test_instance_takes_as_many_requests_as_its_concurrency() -> None:
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
    assert [request.answers for request in endpoint.requests] == [["Completed"]] * 2 + [["Expired"]] * 2
    events = endpoint.load().events
    assert (events["InvocationsProcessed"], events["ExpiredRequests"]) == ([1.0, 1.0], [1.0, 1.0])
    assert sorted(events["TotalProcessingTime"]) == [90_000.0, 90_000.0, 100_000.0, 100_000.0]  # milliseconds
    assert endpoint.load().events == {}


def test_invocation_fails_at_its_timeout() -> None:
    events, endpoint = endpoint_with(1, invocation_timeout=50.0)
    endpoint.receive(100.0)
    events.run(lambda: endpoint.backlog == 0)
    assert (endpoint.requests[0].answers, endpoint.requests[0].time_to_result) == (["Failed"], 50.0)


def test_instance_that_is_not_wanted_any_more_never_enters_service() -> None:
    events, endpoint = endpoint_with(0)
    endpoint.set_desired(1)
    endpoint.set_desired(0)
    events.run(lambda: False)
    assert endpoint.alive == []
    assert endpoint.instances[0].billed(events.now) == 0.0
