"""Scaling to and from zero: the exact settings, with the dimensions that have data."""

from typing import Any

from tests.infra.templates import Find

ENDPOINT_NAME = [{"Name": "EndpointName", "Value": "musicgen-dev"}]


def test_variant_scales_between_zero_and_max_capacity(only: Find) -> None:
    assert only("AWS::ApplicationAutoScaling::ScalableTarget") == {
        "ServiceNamespace": "sagemaker",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ResourceId": "endpoint/musicgen-dev/variant/AllTraffic",
        "MinCapacity": 0,
        "MaxCapacity": 1,
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
        "TargetValue": 4,
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
