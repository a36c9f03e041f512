"""The planner and the embedded AWS agree on waiting times and instance hours for the same traffic, within 10 %."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from local_aws import sagemaker
from local_aws.autoscaling.live import scaling_history
from local_aws.autoscaling.live.accelerated_clock import AcceleratedClock
from local_aws.autoscaling.live.aws_client import AwsApi
from local_aws.autoscaling.live.scaling_service import ScalingService
from local_aws.autoscaling.rules.scaling_config import ScalingConfig
from local_aws.autoscaling.rules.template import DeclaredEndpoint
from local_aws.autoscaling.simulator.traffic import Traffic
from local_aws.planner.plan import Price, Scenario, make_plan, percentile
from tests.local_aws.helpers.scaling_stack import ScalingStack

FACTOR = 120.0  # a minute is half a second
WORK = 1.0  # real seconds that a request takes: two minutes of the controller's clock
START = 2.0  # real seconds that a container takes to start
REQUESTS = 64  # enough that one minute, the resolution of alarms, is a twentieth of the waiting time


@pytest.fixture
def slow_start(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = world.launch

    def launch_slowly(environment: Any, log: Path) -> Any:
        time.sleep(START)
        return launch(environment, log)

    monkeypatch.setattr(world, "launch", launch_slowly)


@pytest.fixture
def scaled(slow_start: None, endpoint: Any, tmp_path: Path) -> Iterator[Path]:
    """The endpoint's scaling history, with at most two instances, while its controller runs."""
    stack = ScalingStack(endpoint.name, max_capacity=2)
    service = ScalingService(AcceleratedClock(FACTOR), tmp_path)
    service.start()
    yield scaling_history.path_of(tmp_path, endpoint.name)
    service.stop()
    stack.delete()


def seconds_to_result(message: dict[str, Any]) -> float:
    """Return the time to the result in a success notification, in seconds of the controller's clock."""
    received, done = (datetime.fromisoformat(message[name]) for name in ("receivedTime", "eventTime"))
    return (done - received).total_seconds() * FACTOR


def seconds_of_one_request(endpoint: Any) -> float:
    """Return what a request takes alone, including the queue and the upload, which also occupy a slot."""
    endpoint.invoke({"sleep": WORK})
    (message,) = endpoint.messages(1)
    return seconds_to_result(message)


def at_zero(path: Path) -> bool:
    last = scaling_history.read(path)[-1]
    return last.instances == last.desired == 0


def instance_seconds(minutes: list[Any]) -> float:
    """Return the billed seconds: from requesting an instance to its end, by the minute."""
    return 60.0 * sum(max(minute.desired, minute.instances) for minute in minutes)


def measured_start(path: Path, endpoint: Any, eventually: Callable[..., Any]) -> float:
    """Return the seconds of the controller's clock from requesting the first instance until it is in service."""
    eventually(lambda: scaling_history.read(path)[-1].desired == 1)
    requested_at = time.monotonic()
    running = sagemaker.find_endpoint(endpoint.name)
    assert running and running.variant
    variant = running.variant
    eventually(lambda: variant.in_service == 1)
    return (time.monotonic() - requested_at) * FACTOR


def test_burst_takes_and_costs_what_the_planner_predicts(
    endpoint: Any, scaled: Path, eventually: Callable[..., Any]
) -> None:
    work = median(seconds_of_one_request(endpoint) for _ in range(5))  # one alone may wait for a busy machine
    AwsApi().set_desired(endpoint.name, "AllTraffic", 0)
    eventually(lambda: scaling_history.read(scaled) and at_zero(scaled))
    idle = len(scaling_history.read(scaled))
    for _ in range(REQUESTS):
        endpoint.invoke({"sleep": WORK})
    start = measured_start(scaled, endpoint, eventually)
    results = [seconds_to_result(message) for message in _messages(endpoint, eventually)]
    eventually(lambda: at_zero(scaled), 60)
    minutes = scaling_history.read(scaled)[idle:]

    api = AwsApi()
    (target,) = [target for target in api.targets() if endpoint.name in target["ResourceId"]]
    scaling = ScalingConfig.of(target, api.policies(), api.alarms())
    deployed = DeclaredEndpoint(endpoint.name, "AllTraffic", "ml.g5.2xlarge", 1, concurrency=2)
    scenario = Scenario("burst", Traffic(REQUESTS, 1.0), 30.0, work, start)
    plan = make_plan(scenario, scaling, deployed, Price(1.0, "us-east-1", "2026-11-23"))
    assert plan.peak == max(minute.instances for minute in minutes) == 2
    assert percentile(results, 0.5) == pytest.approx(plan.p50, rel=0.1)
    assert percentile(results, 0.95) == pytest.approx(plan.p95, rel=0.1)
    assert max(results) == pytest.approx(plan.longest, rel=0.1)
    assert instance_seconds(minutes) == pytest.approx(instance_seconds(list(plan.minutes)), rel=0.1)


def _messages(endpoint: Any, eventually: Callable[..., Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < REQUESTS:
        found += endpoint.messages(1)
    return found
