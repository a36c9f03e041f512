"""The template passes every named check, and each mutation fails the right one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_aws.autoscaling.template_checks import CHECKS, failures

Find = Callable[..., dict[str, Any]]
TARGET, FOLLOW, WAKE, ALARM = (
    f"ScaleToZero{name}" for name in ("Target", "FollowBacklog", "WakeFromZero", "BacklogWithoutCapacity")
)


def tracked(resource: Find) -> dict[str, Any]:
    settings = resource(FOLLOW)["Properties"]["TargetTrackingScalingPolicyConfiguration"]
    return settings["CustomizedMetricSpecification"]


def alarm(resource: Find) -> dict[str, Any]:
    return resource(ALARM)["Properties"]


@pytest.mark.parametrize("capacity", ["one", "four"])
def test_template_passes_every_check(synthesised: dict[str, dict[str, Any]], capacity: str) -> None:
    assert failures(synthesised[capacity]) == {}


def wrong_tracking_dimension(resource: Find) -> None:
    tracked(resource)["Dimensions"].append({"Name": "VariantName", "Value": "AllTraffic"})


def no_tracking_dimension(resource: Find) -> None:
    del tracked(resource)["Dimensions"]


def other_endpoint_tracked(resource: Find) -> None:
    tracked(resource)["Dimensions"][0]["Value"] = "another-endpoint"


def invocations_tracked(resource: Find) -> None:
    tracked(resource)["MetricName"] = "InvocationsPerInstance"


def predefined_metric_tracked(resource: Find) -> None:
    settings = resource(FOLLOW)["Properties"]["TargetTrackingScalingPolicyConfiguration"]
    del settings["CustomizedMetricSpecification"]
    predefined = "SageMakerVariantInvocationsPerInstance"
    settings["PredefinedMetricSpecification"] = {"PredefinedMetricType": predefined}


def sample_count_tracked(resource: Find) -> None:
    tracked(resource)["Statistic"] = "SampleCount"


@pytest.mark.parametrize(
    "mutate",
    [
        wrong_tracking_dimension,
        no_tracking_dimension,
        other_endpoint_tracked,
        invocations_tracked,
        predefined_metric_tracked,
    ],
)
def test_tracking_without_data_never_reaches_zero_nor_scales_out(
    template: dict[str, Any], resource: Find, mutate: Callable[[Find], None]
) -> None:
    mutate(resource)
    found = failures(template)
    assert {"follows-the-backlog", "idle-reaches-zero", "burst-scales-out", "load-returns-to-zero"} == set(found)
    assert "INSUFFICIENT_DATA" in found["idle-reaches-zero"]


def test_tracking_by_another_statistic_is_detected(template: dict[str, Any], resource: Find) -> None:
    sample_count_tracked(resource)
    assert "follows-the-backlog" in failures(template)


def remove_wake_policy(template: dict[str, Any]) -> None:
    resources = template["Resources"]
    for logical_id in [name for name in resources if name.startswith((WAKE, ALARM))]:
        del resources[logical_id]


def test_without_a_wake_policy_a_request_waits_forever(template: dict[str, Any]) -> None:
    remove_wake_policy(template)
    assert {"wake-alarm-sees-the-first-request", "one-request-wakes-it", "every-request-is-answered-once"} <= set(
        failures(template)
    )


def without_actions(properties: dict[str, Any]) -> None:
    properties["AlarmActions"] = []


def actions_disabled(properties: dict[str, Any]) -> None:
    properties["ActionsEnabled"] = False


def with_variant_dimension(properties: dict[str, Any]) -> None:
    properties["Dimensions"].append({"Name": "VariantName", "Value": "AllTraffic"})


def on_another_metric(properties: dict[str, Any]) -> None:
    properties["MetricName"] = "ApproximateBacklogSizePerInstance"
    properties["Threshold"] = 5


def hourly(properties: dict[str, Any]) -> None:
    properties["Period"] = 3600


def threshold_of_two(properties: dict[str, Any]) -> None:
    properties["Threshold"] = 2


@pytest.mark.parametrize(
    "mutate", [without_actions, actions_disabled, with_variant_dimension, on_another_metric, hourly, threshold_of_two]
)
def test_broken_wake_alarm_is_detected_and_keeps_requests_waiting(
    template: dict[str, Any], resource: Find, mutate: Callable[[dict[str, Any]], None]
) -> None:
    mutate(alarm(resource))
    assert {"wake-alarm-sees-the-first-request", "one-request-wakes-it"} <= set(failures(template))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Statistic", "SampleCount"),
        ("Statistic", "Sum"),
        ("Statistic", "Minimum"),
        ("TreatMissingData", "breaching"),
        ("EvaluationPeriods", 3),
        ("DatapointsToAlarm", 1),
        ("ComparisonOperator", "GreaterThanThreshold"),
        ("ComparisonOperator", "LessThanThreshold"),
    ],
)
def test_wake_alarm_must_fire_by_the_documented_rule(
    template: dict[str, Any], resource: Find, field: str, value: str | int
) -> None:
    alarm(resource)[field] = value
    assert "wake-alarm-sees-the-first-request" in failures(template)


def test_wake_alarm_that_always_fires_never_returns_to_zero(template: dict[str, Any], resource: Find) -> None:
    alarm(resource)["Statistic"] = "SampleCount"
    assert {"wake-alarm-sees-the-first-request", "load-returns-to-zero"} <= set(failures(template))


def test_wake_policy_must_add_instances(template: dict[str, Any], resource: Find) -> None:
    settings = resource(WAKE)["Properties"]["StepScalingPolicyConfiguration"]
    settings["StepAdjustments"] = [{"MetricIntervalLowerBound": 5, "ScalingAdjustment": 1}]
    assert {"wake-alarm-sees-the-first-request", "one-request-wakes-it"} <= set(failures(template))


def test_scaling_in_on_the_wake_metric_is_detected(template: dict[str, Any], resource: Find) -> None:
    policy = resource(WAKE)
    shrink = {**policy["Properties"], "PolicyName": "Shrink"}
    shrink["StepScalingPolicyConfiguration"] = {
        "AdjustmentType": "ChangeInCapacity",
        "StepAdjustments": [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -1}],
    }
    template["Resources"]["Shrink"] = {**policy, "Properties": shrink}
    alarm(resource)["OKActions"] = [{"Ref": "Shrink"}]
    assert "wake-metric-never-removes" in failures(template)


def test_minimum_capacity_of_one_never_reaches_zero(template: dict[str, Any], resource: Find) -> None:
    resource(TARGET)["Properties"]["MinCapacity"] = 1
    assert {"least-is-zero", "idle-reaches-zero", "load-returns-to-zero"} == set(failures(template))


def test_target_without_the_dependency_is_detected(template: dict[str, Any], resource: Find) -> None:
    del resource(TARGET)["DependsOn"]
    assert set(failures(template)) == {"target-waits-for-the-endpoint"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ResourceId", "endpoint/another/variant/AllTraffic"),
        ("ResourceId", "endpoint/musicgen-dev/variant/Other"),
        ("ScalableDimension", "sagemaker:inference-component:DesiredCopyCount"),
    ],
)
def test_target_of_another_resource_is_detected(
    template: dict[str, Any], resource: Find, field: str, value: str
) -> None:
    resource(TARGET)["Properties"][field] = value
    assert "target-is-the-endpoint" in failures(template)


@pytest.mark.parametrize("prefix", [TARGET, "AsyncEndpoint"])
def test_template_without_target_or_endpoint_is_detected(template: dict[str, Any], prefix: str) -> None:
    kinds = {TARGET: "ScalableTarget", "AsyncEndpoint": "SageMaker::Endpoint"}
    resources = template["Resources"]
    for logical_id in [name for name, value in resources.items() if value["Type"].endswith(kinds[prefix])]:
        del resources[logical_id]
    assert set(failures(template)) == {"scaling-is-declared"}


def test_every_check_is_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert [name for name in CHECKS if f"`{name}`" not in page] == []
