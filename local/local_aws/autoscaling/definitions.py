"""Alarms, policies and targets from what DescribeAlarms, DescribeScalingPolicies and DescribeScalableTargets answer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

from local_aws.autoscaling.alarms import Alarm
from local_aws.autoscaling.autoscaler import ScalableTarget
from local_aws.autoscaling.expressions import Expression
from local_aws.autoscaling.metrics import Metric
from local_aws.autoscaling.missing_data import State, Treatment
from local_aws.autoscaling.schedules import ScheduledAction
from local_aws.autoscaling.series import MathSeries, MetricSeries, Series
from local_aws.autoscaling.step_scaling import Step, StepScaling
from local_aws.autoscaling.target_tracking import TargetTracking

Described = Mapping[str, Any]

_ACTIONS: Mapping[State, str] = {
    "ALARM": "AlarmActions",
    "OK": "OKActions",
    "INSUFFICIENT_DATA": "InsufficientDataActions",
}
_TRACKING_PERIOD = 60  # seconds: target tracking's alarms are on one-minute datapoints
_DEFAULT_COOLDOWN = 300  # seconds: Application Auto Scaling's for SageMaker variants
_DEFAULT_PERIOD = 60


def alarm_from(described: Described) -> Alarm:
    """An alarm. ValueError for what the evaluation does not know: percentiles, anomaly bands, composite alarms."""
    periods = int(described["EvaluationPeriods"])
    treatment = described.get("TreatMissingData") or "missing"
    if treatment not in get_args(Treatment):
        raise ValueError(f"TreatMissingData must be one of {', '.join(get_args(Treatment))}, got {treatment}")
    if described.get("Threshold") is None:
        raise ValueError(f"Threshold must be given for alarm {described['AlarmName']}")
    enabled = described.get("ActionsEnabled", True)
    return Alarm(
        name=described["AlarmName"],
        series=_series(described, int(described.get("Period") or _DEFAULT_PERIOD)),
        comparison=described["ComparisonOperator"],
        threshold=float(described["Threshold"]),
        evaluation_periods=periods,
        datapoints_to_alarm=int(described.get("DatapointsToAlarm") or periods),
        treatment=cast(Treatment, treatment),
        actions={state: tuple(described.get(field) or ()) for state, field in _ACTIONS.items()} if enabled else {},
    )


def step_scaling_from(described: Described) -> StepScaling:
    """A policy of type StepScaling."""
    settings: Described = described["StepScalingPolicyConfiguration"]
    return StepScaling(
        arn=described["PolicyARN"],
        name=described["PolicyName"],
        adjustment_type=settings["AdjustmentType"],
        steps=tuple(_step(step) for step in settings["StepAdjustments"]),
        cooldown=_number(settings, "Cooldown", _DEFAULT_COOLDOWN),
        aggregation=settings.get("MetricAggregationType") or "Average",
        min_magnitude=int(settings.get("MinAdjustmentMagnitude") or 0),
    )


def target_tracking_from(described: Described) -> TargetTracking:
    """A policy of type TargetTrackingScaling."""
    settings: Described = described["TargetTrackingScalingPolicyConfiguration"]
    return TargetTracking(
        arn=described["PolicyARN"],
        name=described["PolicyName"],
        series=_tracked(settings, described["ResourceId"]),
        target=float(settings["TargetValue"]),
        scale_out_cooldown=_number(settings, "ScaleOutCooldown", _DEFAULT_COOLDOWN),
        scale_in_cooldown=_number(settings, "ScaleInCooldown", _DEFAULT_COOLDOWN),
        disable_scale_in=str(settings.get("DisableScaleIn", False)).lower() == "true",
    )


def target_from(described: Described) -> ScalableTarget:
    """A scalable target."""
    return ScalableTarget(described["ResourceId"], int(described["MinCapacity"]), int(described["MaxCapacity"]))


def scheduled_action_from(described: Described) -> ScheduledAction:
    """A scheduled action of a target."""
    bounds: Described = described.get("ScalableTargetAction") or {}
    least, most = (bounds.get(field) for field in ("MinCapacity", "MaxCapacity"))
    return ScheduledAction(
        name=described["ScheduledActionName"],
        schedule=described["Schedule"],
        timezone=described.get("Timezone") or "UTC",
        min_capacity=None if least is None else int(least),
        max_capacity=None if most is None else int(most),
    )


def endpoint_and_variant(resource_id: str) -> tuple[str, str]:
    """The names in `endpoint/<name>/variant/<variant>`; ValueError for another kind of resource."""
    parts = resource_id.split("/")
    if len(parts) != 4 or (parts[0], parts[2]) != ("endpoint", "variant"):
        raise ValueError(f"ResourceId must be endpoint/<name>/variant/<variant>, got {resource_id}")
    return parts[1], parts[3]


def _series(described: Described, period: int) -> Series:
    if described.get("Metrics"):
        return _math(described["Metrics"], period)
    return MetricSeries(_metric(described), _statistic(described, "Statistic"), period)


def _math(queries: Sequence[Described], period: int) -> Series:
    """The one query that returns data: an expression over the others, or one of them as it is."""
    inputs = {query["Id"]: _stat(query["MetricStat"], period) for query in queries if query.get("MetricStat")}
    returned = [query for query in queries if str(query.get("ReturnData", True)).lower() == "true"]
    if len(returned) != 1:
        raise ValueError(f"exactly one of the alarm's Metrics must return data, got {len(returned)}")
    if not returned[0].get("Expression"):
        return inputs[returned[0]["Id"]]
    longest = max((series.period for series in inputs.values()), default=period)
    return MathSeries(Expression(returned[0]["Expression"]), inputs, longest)


def _stat(described: Described, period: int) -> MetricSeries:
    metric = _metric(described["Metric"])
    return MetricSeries(metric, _statistic(described, "Stat"), int(described.get("Period") or period))


def _metric(described: Described) -> Metric:
    dimensions = {item["Name"]: item["Value"] for item in described.get("Dimensions") or ()}
    return Metric.of(described["Namespace"], described["MetricName"], dimensions)


def _statistic(described: Described, field: Literal["Statistic", "Stat"]) -> str:
    statistic = described.get(field)
    if not statistic:
        raise ValueError(f"{field} must be given: percentiles are not evaluated")
    return str(statistic)


def _tracked(settings: Described, resource_id: str) -> Series:
    custom: Described | None = settings.get("CustomizedMetricSpecification")
    if custom:
        return _series(custom, _TRACKING_PERIOD)
    specification: Described = settings.get("PredefinedMetricSpecification") or {}
    predefined = specification.get("PredefinedMetricType")
    if predefined != "SageMakerVariantInvocationsPerInstance":
        raise ValueError(f"PredefinedMetricType must be SageMakerVariantInvocationsPerInstance, got {predefined}")
    endpoint, variant = endpoint_and_variant(resource_id)
    metric = Metric.of("AWS/SageMaker", "InvocationsPerInstance", {"EndpointName": endpoint, "VariantName": variant})
    return MetricSeries(metric, "Sum", _TRACKING_PERIOD)


def _step(described: Described) -> Step:
    return Step(
        adjustment=int(described["ScalingAdjustment"]),
        lower=_number(described, "MetricIntervalLowerBound", -math.inf),
        upper=_number(described, "MetricIntervalUpperBound", math.inf),
    )


def _number(described: Described, field: str, default: float) -> float:
    value = described.get(field)
    return default if value is None else float(value)
