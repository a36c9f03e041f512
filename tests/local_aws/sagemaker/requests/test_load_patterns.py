"""The five traffic patterns on the embedded AWS, 600 times faster than real time: instances start, drain and end."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.autoscaling.live import scaling_history
from local_aws.autoscaling.live.accelerated_clock import AcceleratedClock
from local_aws.autoscaling.live.scaling_service import ScalingService
from local_aws.autoscaling.simulator.traffic import Traffic, arrival_times
from tests.local_aws.helpers.scaling_stack import ScalingStack

FACTOR = 600.0  # a minute is a tenth of a second
WORK = 0.05  # real seconds that a request takes: half a minute of the controller's clock
TRAFFIC = {
    "single": Traffic(1, 1, seed=11),
    "burst": Traffic(200, 1, seed=12),
    "steady": Traffic(60, 1, seed=13),
    "sawtooth": Traffic(40, 2, seed=14),
    "trickle": Traffic(8, 1, seed=15),
}


@pytest.fixture
def history(endpoint: Any, tmp_path: Path) -> Iterator[Path]:
    """The endpoint's scaling history, with at most three instances, while its controller runs."""
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
def test_each_request_completes_once_and_the_endpoint_returns_to_zero(
    pattern: str, endpoint: Any, world: Any, history: Path, eventually: Callable[..., Any]
) -> None:
    eventually(lambda: at_zero(history), 30)
    started, times = time.monotonic(), arrival_times(pattern, TRAFFIC[pattern])
    for at in times:
        time.sleep(max(0.0, started + at / FACTOR - time.monotonic()))
        endpoint.invoke({"sleep": WORK})
    notifications: list[dict[str, Any]] = []
    while len(notifications) < len(times):
        notifications += endpoint.messages(1)
    assert {message["invocationStatus"] for message in notifications} == {"Completed"}
    eventually(lambda: at_zero(history), 60)
    eventually(lambda: world.running == [])
    delivered = [headers["X-Amzn-SageMaker-Inference-Id"] for headers, _ in world.received]
    assert len(delivered) == len(set(delivered)) == len(times)  # no request was interrupted and delivered again
    assert {message["inferenceId"] for message in notifications} == set(delivered)
    assert max(minute.instances for minute in scaling_history.read(history)) <= 3
