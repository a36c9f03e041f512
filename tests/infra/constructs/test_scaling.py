"""Scaling to and from zero: the exact settings, with the dimensions that have data."""

from typing import Any

import pytest

from infra.config import ConfigError, from_context
from infra.config.version import version
from tests.infra.templates import SCHEDULE, Find, Synthesise, properties

ENDPOINT_NAME = [{"Name": "EndpointName", "Value": "musicgen-dev"}]
TAGS = [
    {"Key": "environment", "Value": "dev"},
    {"Key": "service", "Value": "musicgen"},
    {"Key": "version", "Value": version()},
]


def test_variant_scales_between_zero_and_max_capacity(only: Find) -> None:
    assert only("AWS::ApplicationAutoScaling::ScalableTarget") == {
        "ServiceNamespace": "sagemaker",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ResourceId": "endpoint/musicgen-dev/variant/AllTraffic",
        "MinCapacity": 0,
        "MaxCapacity": 1,
        "Tags": TAGS,
    }


def test_scalable_target_is_created_after_the_endpoint_and_deleted_before_it(dev_template: dict[str, Any]) -> None:
    (target,) = (
        resource
        for resource in dev_template["Resources"].values()
        if resource["Type"] == "AWS::ApplicationAutoScaling::ScalableTarget"
    )
    (first,) = target["DependsOn"]
    assert dev_template["Resources"][first]["Type"] == "AWS::SageMaker::Endpoint"


def test_target_tracking_follows_the_backlog_per_instance_by_endpoint_name(only: Find) -> None:
    policy = only("AWS::ApplicationAutoScaling::ScalingPolicy", "ScaleToZeroFollowBacklog")
    assert policy["PolicyType"] == "TargetTrackingScaling"
    assert policy["TargetTrackingScalingPolicyConfiguration"] == {
        "TargetValue": 11,
        "ScaleInCooldown": 300,
        "ScaleOutCooldown": 300,
        "CustomizedMetricSpecification": {
            "Namespace": "AWS/SageMaker",
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Dimensions": ENDPOINT_NAME,
            "Statistic": "Average",
        },
    }


def test_step_policy_adds_one_instance(only: Find) -> None:
    policy = only("AWS::ApplicationAutoScaling::ScalingPolicy", "ScaleToZeroWakeFromZero")
    assert policy["PolicyType"] == "StepScaling"
    assert policy["StepScalingPolicyConfiguration"] == {
        "AdjustmentType": "ChangeInCapacity",
        "Cooldown": 300,
        "MetricAggregationType": "Average",
        "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
    }


def test_backlog_without_capacity_wakes_the_endpoint(only: Find, dev_template: dict[str, Any]) -> None:
    alarm = only("AWS::CloudWatch::Alarm", "ScaleToZero")
    (action,) = alarm["AlarmActions"]
    assert dev_template["Resources"][action["Ref"]]["Properties"]["PolicyName"] == "WakeFromZero"
    assert {key: value for key, value in alarm.items() if key != "AlarmActions"} == {
        "AlarmDescription": "Requests wait and no instance runs: add one",
        "Namespace": "AWS/SageMaker",
        "MetricName": "HasBacklogWithoutCapacity",
        "Dimensions": ENDPOINT_NAME,
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 2,
        "DatapointsToAlarm": 2,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "missing",
        "Tags": TAGS,
    }


def test_no_step_policy_scales_in(dev_template: dict[str, Any]) -> None:
    policies = [
        resource["Properties"]
        for resource in dev_template["Resources"].values()
        if resource["Type"] == "AWS::ApplicationAutoScaling::ScalingPolicy"
    ]
    steps = [
        step["ScalingAdjustment"]
        for policy in policies
        for step in policy.get("StepScalingPolicyConfiguration", {}).get("StepAdjustments", [])
    ]
    assert len(policies) == 2
    assert steps == [1]


@pytest.mark.parametrize("given", [{}, SCHEDULE])
def test_scaling_off_leaves_the_endpoint_and_its_other_alarms(synthesise: Synthesise, given: dict[str, str]) -> None:
    template = synthesise(scaling="off", **given)
    resources = template.to_json()["Resources"]
    assert not [logical_id for logical_id in resources if logical_id.startswith("ScaleToZero")]
    assert not [r for r in resources.values() if r["Type"].startswith("AWS::ApplicationAutoScaling::")]
    alarms = [logical_id for logical_id, r in resources.items() if r["Type"] == "AWS::CloudWatch::Alarm"]
    assert [logical_id.removeprefix("Monitoring")[:-8] for logical_id in alarms] == [
        "QueueAge",
        "InvocationFailures",
        "ExpiredRequests",
        "NotificationFailures",
        "SlowPath",
    ]
    untouched = ("AWS::SageMaker::EndpointConfig", "AWS::SageMaker::Endpoint", "AWS::SageMaker::Model")
    before = synthesise().to_json()["Resources"].items()
    assert all(resources[logical_id] == resource for logical_id, resource in before if resource["Type"] in untouched)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("instance_type", "ml.g5.2xlarge", "ml.g6.2xlarge"),
        ("fallback_instance_types", "", "ml.g5.xlarge,ml.g6.xlarge"),
    ],
)
def test_new_instance_types_with_scaling_off_are_rejected_with_both_commands(
    cdk_context: dict[str, Any], name: str, before: str, after: str
) -> None:
    with pytest.raises(ConfigError) as error:
        from_context({**cdk_context, "env": "prod", "scaling": "off", name: after})
    assert str(error.value).startswith(
        f"{name} must not change in the deployment that turns scaling off, got {after!r} on the command line and "
        f"{before!r} for prod: "
    )
    assert (
        "Deploy twice: `npx cdk deploy -c env=prod -c scaling=off`, then "
        f"`npx cdk deploy -c env=prod -c {name}={after}`; or, if {after!r} is what is deployed, write it into cdk.json."
    ) in str(error.value)
    assert "`make preflight` and the gate's class `two-phase` compare with what is deployed" in str(error.value)


def test_both_deployments_of_an_instance_type_change_are_accepted(cdk_context: dict[str, Any]) -> None:
    assert from_context({**cdk_context, "scaling": "off"}).instance_type == "ml.g5.2xlarge"
    assert from_context({**cdk_context, "scaling": "off", "instance_type": "ml.g5.2xlarge"}).scaling == "off"
    assert from_context({**cdk_context, "instance_type": "ml.g6.2xlarge"}).scaling == "on"


def test_update_starts_on_one_instance_unless_the_fleet_is_to_keep_its_size(synthesise: Synthesise) -> None:
    for given, retained in (({}, False), ({"retain_variant_properties": "yes"}, True)):
        endpoint = properties(synthesise(**given), "AWS::SageMaker::Endpoint")
        assert endpoint["RetainAllVariantProperties"] is retained
