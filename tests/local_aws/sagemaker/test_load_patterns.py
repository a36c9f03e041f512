"""The five load patterns on the embedded AWS, at six hundred times the pace: instances start, drain and end."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.autoscaling.emulator import scaling_history
from local_aws.autoscaling.emulator.accelerated_clock import AcceleratedClock
from local_aws.autoscaling.emulator.scaling_service import ScalingService
from local_aws.autoscaling.simulator.traffic import Traffic, arrival_times
from tests.local_aws.helpers.scaling_stack import ScalingStack

FACTOR = 600.0  # a minute is a tenth of a second
WORK = 0.05  # seconds that a request takes for real: half a minute
TRAFFIC = {
    "single": Traffic(1, 1, seed=11),
    "burst": Traffic(200, 1, seed=12),
    "steady": Traffic(60, 1, seed=13),
    "sawtooth": Traffic(40, 2, seed=14),
    "trickle": Traffic(8, 1, seed=15),
}


@pytest.fixture
def recorded(endpoint: Any, tmp_path: Path) -> Iterator[Path]:
    """The record of the endpoint, with three instances at most, while its controller runs."""
    stack = ScalingStack(endpoint.name, max_capacity=3)
    service = ScalingService(AcceleratedClock(FACTOR), tmp_path)
    service.start()
    yield scaling_history.path_of(tmp_path, endpoint.name)
    service.stop()
    stack.delete()


def at_zero(path: Path) -> bool:
    minutes = scaling_history.read(path)
    return bool(minutes) and minutes[-1].instances == minutes[-1].desired == minutes[-1].backlog == 0


@pytest.mark.parametrize("pattern", TRAFFIC)
def test_every_request_is_delivered_and_answered_once_and_the_endpoint_ends_at_zero(
    pattern: str, endpoint: Any, world: Any, recorded: Path, eventually: Callable[..., Any]
) -> None:
    eventually(lambda: at_zero(recorded), 30)
    started, times = time.monotonic(), arrival_times(pattern, TRAFFIC[pattern])
    for at in times:
        time.sleep(max(0.0, started + at / FACTOR - time.monotonic()))
        endpoint.invoke({"sleep": WORK})
    told: list[dict[str, Any]] = []
    while len(told) < len(times):
        told += endpoint.messages(1)
    assert {message["invocationStatus"] for message in told} == {"Completed"}
    eventually(lambda: at_zero(recorded), 60)
    eventually(lambda: world.running == [])
    delivered = [headers["X-Amzn-SageMaker-Inference-Id"] for headers, _ in world.received]
    assert len(delivered) == len(set(delivered)) == len(times)  # none was broken off and delivered again
    assert {message["inferenceId"] for message in told} == set(delivered)
    assert max(minute.instances for minute in scaling_history.read(recorded)) <= 3
