"""The scaling of one endpoint variant, parsed from what the Describe calls return.

DescribeAlarms, DescribeScalableTargets, DescribeScalingPolicies and DescribeScheduledActions. `template` has the same
shape for a CloudFormation template.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args

from local_aws.autoscaling.rules.alarms import Alarm, AlarmState, TreatMissingData
from local_aws.autoscaling.rules.autoscaler import ScalableTarget
from local_aws.autoscaling.rules.metric_math import Expression
from local_aws.autoscaling.rules.metrics import MathSeries, Metric, MetricSeries, Series
from local_aws.autoscaling.rules.policies import ScalingPolicy, StepAdjustment, StepScaling, TargetTracking
from local_aws.autoscaling.rules.scheduled_actions import ScheduledAction

Description = Mapping[str, Any]  # one item of a Describe call's response

_ACTIONS: Mapping[AlarmState, str] = {
    "ALARM": "AlarmActions",
    "OK": "OKActions",
    "INSUFFICIENT_DATA": "InsufficientDataActions",
}
_POLICY_TYPES = ("StepScaling", "TargetTrackingScaling")
_TRACKING_PERIOD = 60  # seconds: the alarms of target tracking evaluate one-minute datapoints
_DEFAULT_COOLDOWN = 300  # seconds: Application Auto Scaling's default for SageMaker variants
_DEFAULT_PERIOD = 60


@dataclass(frozen=True)
class ScalingConfig:
    """A scalable target with its policies and scheduled actions, and all alarms of the account."""

    target: ScalableTarget
    policies: tuple[ScalingPolicy, ...]
    alarms: tuple[Alarm, ...]
    scheduled_actions: tuple[ScheduledAction, ...] = ()

    @classmethod
    def of(
        cls,
        target: Description,
        policies: Iterable[Description],
        alarms: Iterable[Description],
        scheduled_actions: Iterable[Description] = (),
    ) -> "ScalingConfig":
        """Select the target's policies. `scheduled_actions` must be the target's own.

        Raise ValueError for anything unsupported.
        """
        return cls(
            _parse_target(target),
            tuple(
                _parse_policy(policy)
                for policy in policies
                if policy["ResourceId"] == target["ResourceId"] and policy["PolicyType"] in _POLICY_TYPES
            ),
            tuple(parse_alarm(alarm) for alarm in alarms),
            tuple(_parse_scheduled_action(action) for action in scheduled_actions),
        )

    def with_scaling_alarms_only(self) -> "ScalingConfig":
        """Drop the alarms that invoke none of the policies, which a simulation does not need."""
        arns = {policy.arn for policy in self.policies}
        return replace(self, alarms=tuple(alarm for alarm in self.alarms if arns & all_actions(alarm)))

    def without_scheduled_actions(self) -> "ScalingConfig":
        return replace(self, scheduled_actions=())


def all_actions(alarm: Alarm) -> set[str]:
    """Return the ARNs of the alarm's actions in any state."""
    return {arn for arns in alarm.actions.values() for arn in arns}


def parse_alarm(description: Description) -> Alarm:
    """Parse an alarm. Raise ValueError for percentiles, anomaly bands and composite alarms."""
    periods = int(description["EvaluationPeriods"])
    treat_missing_data = description.get("TreatMissingData") or "missing"
    if treat_missing_data not in get_args(TreatMissingData):
        allowed = ", ".join(get_args(TreatMissingData))
        raise ValueError(f"TreatMissingData must be one of {allowed}, got {treat_missing_data}")
    if description.get("Threshold") is None:
        raise ValueError(f"alarm {description['AlarmName']} has no Threshold; anomaly bands are not supported")
    enabled = description.get("ActionsEnabled", True)
    return Alarm(
        name=description["AlarmName"],
        series=_parse_series(description, int(description.get("Period") or _DEFAULT_PERIOD)),
        comparison=description["ComparisonOperator"],
        threshold=float(description["Threshold"]),
        evaluation_periods=periods,
        datapoints_to_alarm=int(description.get("DatapointsToAlarm") or periods),
        treat_missing_data=cast(TreatMissingData, treat_missing_data),
        actions={state: tuple(description.get(field) or ()) for state, field in _ACTIONS.items()} if enabled else {},
    )


def endpoint_and_variant(resource_id: str) -> tuple[str, str]:
    """Return the names in `endpoint/<name>/variant/<variant>`. Raise ValueError for another resource id."""
    parts = resource_id.split("/")
    if len(parts) != 4 or (parts[0], parts[2]) != ("endpoint", "variant"):
        raise ValueError(f"ResourceId must be endpoint/<name>/variant/<variant>, got {resource_id}")
    return parts[1], parts[3]


def _parse_target(description: Description) -> ScalableTarget:
    settings: Description = description.get("SuspendedState") or {}
    suspended = frozenset(name.removesuffix("Suspended") for name, value in settings.items() if value is True)
    least, most = int(description["MinCapacity"]), int(description["MaxCapacity"])
    return ScalableTarget(description["ResourceId"], least, most, suspended)


def _parse_policy(description: Description) -> ScalingPolicy:
    arn, name = description["PolicyARN"], description["PolicyName"]
    if description["PolicyType"] == "StepScaling":
        settings: Description = description["StepScalingPolicyConfiguration"]
        steps = [
            StepAdjustment(
                adjustment=int(step["ScalingAdjustment"]),
                lower=_number(step, "MetricIntervalLowerBound", -math.inf),
                upper=_number(step, "MetricIntervalUpperBound", math.inf),
            )
            for step in settings["StepAdjustments"]
        ]
        return StepScaling(
            arn,
            name,
            settings["AdjustmentType"],
            tuple(steps),
            cooldown=_number(settings, "Cooldown", _DEFAULT_COOLDOWN),
            aggregation=settings.get("MetricAggregationType") or "Average",
            min_magnitude=int(settings.get("MinAdjustmentMagnitude") or 0),
        )
    settings = description["TargetTrackingScalingPolicyConfiguration"]
    return TargetTracking(
        arn,
        name,
        _parse_tracked_series(settings, description["ResourceId"]),
        float(settings["TargetValue"]),
        scale_out_cooldown=_number(settings, "ScaleOutCooldown", _DEFAULT_COOLDOWN),
        scale_in_cooldown=_number(settings, "ScaleInCooldown", _DEFAULT_COOLDOWN),
        disable_scale_in=str(settings.get("DisableScaleIn", False)).lower() == "true",
    )


def _parse_scheduled_action(description: Description) -> ScheduledAction:
    bounds: Description = description.get("ScalableTargetAction") or {}
    minimum, maximum = (bounds.get(field) for field in ("MinCapacity", "MaxCapacity"))
    return ScheduledAction(
        name=description["ScheduledActionName"],
        schedule=description["Schedule"],
        timezone=description.get("Timezone") or "UTC",
        min_capacity=None if minimum is None else int(minimum),
        max_capacity=None if maximum is None else int(maximum),
        starts_at=_moment(description.get("StartTime")),
        ends_at=_moment(description.get("EndTime")),
    )


def _parse_tracked_series(settings: Description, resource_id: str) -> Series:
    custom: Description | None = settings.get("CustomizedMetricSpecification")
    if custom:
        return _parse_series(custom, _TRACKING_PERIOD)
    specification: Description = settings.get("PredefinedMetricSpecification") or {}
    predefined = specification.get("PredefinedMetricType")
    if predefined != "SageMakerVariantInvocationsPerInstance":
        raise ValueError(f"PredefinedMetricType must be SageMakerVariantInvocationsPerInstance, got {predefined}")
    endpoint, variant = endpoint_and_variant(resource_id)
    metric = Metric.of("AWS/SageMaker", "InvocationsPerInstance", {"EndpointName": endpoint, "VariantName": variant})
    return MetricSeries(metric, "Sum", _TRACKING_PERIOD)


def _parse_series(description: Description, period: int) -> Series:
    """Parse a single metric, or the one query that returns data: an expression over the others, or one of them."""
    queries: Sequence[Description] = description.get("Metrics") or ()
    if not queries:
        return _parse_metric_series(description, description, "Statistic", period)
    inputs = {
        query["Id"]: _parse_metric_series(stat["Metric"], stat, "Stat", period)
        for query in queries
        if (stat := query.get("MetricStat"))
    }
    returned = [query for query in queries if str(query.get("ReturnData", True)).lower() == "true"]
    if len(returned) != 1:
        raise ValueError(f"exactly one of the alarm's Metrics must return data, got {len(returned)}")
    if not returned[0].get("Expression"):
        return inputs[returned[0]["Id"]]
    longest = max((series.period for series in inputs.values()), default=period)
    return MathSeries(Expression(returned[0]["Expression"]), inputs, longest)


def _parse_metric_series(
    metric: Description, settings: Description, field: Literal["Statistic", "Stat"], period: int
) -> MetricSeries:
    if not settings.get(field):
        raise ValueError(f"{field} must be given; percentiles are not supported")
    dimensions = {item["Name"]: item["Value"] for item in metric.get("Dimensions") or ()}
    if field == "Stat":
        period = int(settings.get("Period") or period)
    watched = Metric.of(metric["Namespace"], metric["MetricName"], dimensions, settings.get("Unit") or "")
    return MetricSeries(watched, str(settings[field]), period)


def _moment(value: Any) -> datetime | None:
    """Return a time of a Describe call; None for a template's text, which has no need of it yet."""
    return value.astimezone(UTC) if isinstance(value, datetime) else None


def _number(description: Description, field: str, default: float) -> float:
    value = description.get(field)
    return default if value is None else float(value)
