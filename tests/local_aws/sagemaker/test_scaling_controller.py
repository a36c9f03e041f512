"""The controller scales running containers by the policies and alarms of the template, created through the API."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_aws.autoscaling.live import scaling_history
from local_aws.autoscaling.live.accelerated_clock import AcceleratedClock
from local_aws.autoscaling.live.scaling_service import ScalingService
from local_aws.emulator import clients
from tests.local_aws.helpers.scaling_stack import ScalingStack

FACTOR = 600.0  # a minute is a tenth of a second

Deploy = Callable[..., ScalingStack]


@pytest.fixture
def service(world: Any, tmp_path: Any) -> Iterator[ScalingService]:
    service = ScalingService(AcceleratedClock(FACTOR), tmp_path / "scaling")
    service.start()
    yield service
    service.stop()


@pytest.fixture
def deploy(endpoint: Any) -> Iterator[Deploy]:
    """Register the endpoint's variant with the template's policies and alarms; keywords change them."""
    made: list[ScalingStack] = []

    def register(**changes: Any) -> ScalingStack:
        made.append(ScalingStack(endpoint.name, **changes))
        return made[0]

    yield register
    for scaling in made:
        scaling.delete()


def instances(endpoint: Any) -> int:
    return endpoint.describe()["ProductionVariants"][0]["CurrentInstanceCount"]


def at_zero(endpoint: Any) -> bool:
    described = endpoint.describe()
    variant = described["ProductionVariants"][0]
    counts = variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]
    return counts == (0, 0) and described["EndpointStatus"] == "InService"


def state(alarm: str) -> str:
    [described] = clients.client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    return described["StateValue"]


def test_idle_endpoint_scales_to_zero_and_a_request_wakes_it(
    endpoint: Any, world: Any, service: ScalingService, deploy: Deploy
) -> None:
    scaling = deploy()
    endpoint.eventually(lambda: at_zero(endpoint))
    endpoint.eventually(lambda: world.running == [])
    answer = endpoint.invoke({"text": "woken"})
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": "woken"}
    assert [message["topic"] for message in endpoint.messages(1)] == ["success"]
    assert len(world.containers) == 2
    endpoint.eventually(lambda: at_zero(endpoint))
    assert state(scaling.alarm) == "OK"


def test_history_contains_every_decision_with_its_time(
    endpoint: Any, service: ScalingService, deploy: Deploy, tmp_path: Any
) -> None:
    deploy()
    endpoint.eventually(lambda: at_zero(endpoint))
    endpoint.await_object(endpoint.invoke({})["OutputLocation"])
    endpoint.eventually(lambda: at_zero(endpoint))
    minutes = scaling_history.read(scaling_history.path_of(tmp_path / "scaling", endpoint.name))
    decisions = [minute.decision for minute in minutes if minute.decision]
    assert decisions[:2] == ["FollowBacklog: 1 -> 0", "WakeFromZero: 0 -> 1"]
    first_scale_in = next(number for number, minute in enumerate(minutes) if minute.decision)
    assert first_scale_in == 14  # the fifteenth datapoint
    assert [minute.at - minutes[0].at for minute in minutes] == [60.0 * number for number in range(len(minutes))]


def test_busy_instances_finish_their_requests_before_they_end(
    endpoint: Any, world: Any, service: ScalingService, deploy: Deploy
) -> None:
    deploy(max_capacity=3)
    answers = [endpoint.invoke({"sleep": 0.5, "text": str(number)}) for number in range(40)]
    endpoint.eventually(lambda: instances(endpoint) == 3)
    for number, answer in enumerate(answers):
        assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": str(number)}
    endpoint.eventually(lambda: at_zero(endpoint))
    identifiers = [headers["X-Amzn-SageMaker-Inference-Id"] for headers, _ in world.received]
    assert len(identifiers) == len(set(identifiers)) == 40  # each was delivered once: none was interrupted
    assert [message["invocationStatus"] for message in endpoint.messages(40)] == ["Completed"] * 40


def test_wrong_dimension_leaves_the_alarm_without_data_and_keeps_the_instance(
    endpoint: Any, world: Any, service: ScalingService, deploy: Deploy, tmp_path: Any
) -> None:
    deploy(tracked_dimensions=[{"Name": "VariantName", "Value": "AllTraffic"}])
    path = scaling_history.path_of(tmp_path / "scaling", endpoint.name)
    endpoint.eventually(lambda: len(scaling_history.read(path)) > 40)
    assert instances(endpoint) == 1
    last = json.loads(path.read_text().splitlines()[-1])
    assert last["alarms"]["TargetTracking-FollowBacklog-AlarmLow"] == "INSUFFICIENT_DATA"


def test_request_at_zero_instances_waits_without_the_wake_policy(
    endpoint: Any, world: Any, service: ScalingService, deploy: Deploy, tmp_path: Any
) -> None:
    deploy(wake=False)
    endpoint.eventually(lambda: at_zero(endpoint))
    answer = endpoint.invoke({})
    path = scaling_history.path_of(tmp_path / "scaling", endpoint.name)
    seen = len(scaling_history.read(path))
    endpoint.eventually(lambda: len(scaling_history.read(path)) > seen + 20)
    assert instances(endpoint) == 0
    assert endpoint.object(answer["OutputLocation"]) is None


def test_scheduled_action_raises_the_minimum_capacity(endpoint: Any, service: ScalingService, deploy: Deploy) -> None:
    scaling = deploy()
    endpoint.eventually(lambda: at_zero(endpoint))
    scaling.schedule("cron(0/30 * * * ? *)", minimum=1)
    endpoint.eventually(lambda: instances(endpoint) == 1)
    endpoint.eventually(lambda: scaling.bounds() == (1, 1))


def test_unsupported_target_does_not_stop_the_others(
    endpoint: Any, service: ScalingService, deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    other = ScalingStack(f"{endpoint.name}-other")
    other.schedule("rate(1 hour)", minimum=1)
    deploy()
    endpoint.eventually(lambda: at_zero(endpoint))
    assert "Schedule must be cron() with six fields or at(), got 'rate(1 hour)'" in caplog.text
    other.delete()


def test_metrics_are_published_with_sagemakers_dimensions(
    endpoint: Any, service: ScalingService, deploy: Deploy
) -> None:
    deploy()
    endpoint.await_object(endpoint.invoke({})["OutputLocation"])
    endpoint.invoke({"status": 500})
    wanted = {
        "ApproximateBacklogSize": {"EndpointName"},
        "ApproximateBacklogSizePerInstance": {"EndpointName"},
        "ApproximateAgeOfOldestRequest": {"EndpointName"},
        "HasBacklogWithoutCapacity": {"EndpointName"},
        "InvocationsProcessed": {"EndpointName", "VariantName"},
        "InvocationFailures": {"EndpointName", "VariantName"},
        "Invocation4XXErrors": {"EndpointName", "VariantName"},
        "Invocation5XXErrors": {"EndpointName", "VariantName"},
        "ModelLatency": {"EndpointName", "VariantName"},
        "TimeInBacklog": {"EndpointName", "VariantName"},
        "ResponseUploadLatency": {"EndpointName", "VariantName"},
        "TotalProcessingTime": {"EndpointName", "VariantName"},
        "CPUUtilization": {"EndpointName", "VariantName"},
    }

    def published() -> bool:
        mine = [{"Name": "EndpointName", "Value": endpoint.name}]
        found = clients.client("cloudwatch").list_metrics(Dimensions=mine)["Metrics"]
        names = {metric["MetricName"]: {item["Name"] for item in metric["Dimensions"]} for metric in found}
        return names == wanted

    endpoint.eventually(published)


def test_durations_are_on_the_controllers_clock(endpoint: Any, service: ScalingService, deploy: Deploy) -> None:
    deploy()
    endpoint.await_object(endpoint.invoke({"sleep": 0.2})["OutputLocation"])
    metric = {"Namespace": "AWS/SageMaker", "MetricName": "ModelLatency"}
    dimensions = [{"Name": "EndpointName", "Value": endpoint.name}, {"Name": "VariantName", "Value": "AllTraffic"}]
    now = datetime.now(UTC)

    def latencies() -> list[float]:
        found = clients.client("cloudwatch").get_metric_statistics(
            **metric,
            Dimensions=dimensions,
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=60,
            Statistics=["Maximum"],
        )
        return [point["Maximum"] for point in found["Datapoints"]]

    (latency,) = endpoint.eventually(latencies)
    assert latency / 1e6 == pytest.approx(0.2 * FACTOR, rel=0.5)


def test_alarm_notifies_its_topic_when_its_state_changes(
    endpoint: Any, service: ScalingService, deploy: Deploy
) -> None:
    endpoint.invoke({"status": 500})
    scaling = deploy(notify=endpoint.topics["ErrorTopic"])
    endpoint.eventually(lambda: state(scaling.failures_alarm) == "ALARM")
    notifications = [message for message in endpoint.messages(2) if "AlarmName" in message]
    assert {(message["AlarmName"], message["NewStateValue"]) for message in notifications} == {
        (scaling.failures_alarm, "ALARM")
    }


@pytest.mark.parametrize("factor", [0.0, 0.5, 601.0, float("nan"), float("inf")])
def test_clock_factor_is_bounded(factor: float) -> None:
    with pytest.raises(ValueError, match="LOCAL_AWS_CLOCK_FACTOR must be 1 to 600"):
        AcceleratedClock(factor)


def test_clock_counts_minutes_and_stops_at_once() -> None:
    pace, stopped = AcceleratedClock(600.0), threading.Event()
    assert [pace.next_minute(stopped), pace.now, pace.next_minute(stopped), pace.now] == [True, 60.0, True, 120.0]
    stopped.set()
    assert not AcceleratedClock(1.0).next_minute(stopped)
