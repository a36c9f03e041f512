"""What Application Auto Scaling checks, creates and deletes where moto does not."""

# pyright: reportPrivateUsage=false
# (moto keeps a policy's body private)

import functools
import itertools
import uuid
from typing import Any

from moto.applicationautoscaling.models import (
    ApplicationAutoscalingBackend,
    FakeApplicationAutoscalingPolicy,
)
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.exceptions import JsonRESTError

from local_aws.autoscaling.rules.controller import TRACKING_PREFIX
from local_aws.autoscaling.rules.metrics import MetricSeries
from local_aws.autoscaling.rules.scaling_config import ScalingConfig
from local_aws.autoscaling.rules.scheduled_actions import ScheduledAction
from local_aws.emulator.account import ACCOUNT_ID, REGION

# https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-quotas.html
_MAX_STEPS = 20
_MAX_POLICIES = 50  # of a scalable target
_MAX_ACTIONS = 200


def install() -> None:
    """Wrap moto's Application Auto Scaling; call once."""
    backend: Any = ApplicationAutoscalingBackend
    policy: Any = FakeApplicationAutoscalingPolicy
    _check_registrations(backend)
    _delete_with_the_target(backend)
    _check_policies(backend)
    _check_scheduled_actions(backend)
    _create_tracking_alarms(policy)


def _refuse(message: str) -> JsonRESTError:
    return JsonRESTError("ValidationException", message)


def _limit_exceeded(what: str, quota: str) -> JsonRESTError:
    return JsonRESTError("LimitExceededException", f"a {what} can have at most {quota}")


def _not_found(what: str, *identity: str) -> JsonRESTError:
    return JsonRESTError("ObjectNotFoundException", f"No {what} found for " + ", ".join(identity))


# ---- scalable targets --------------------------------------------------------------------------------------


def _check_registrations(backend: Any) -> None:
    register = backend.register_scalable_target

    @functools.wraps(register)
    def register_scalable_target(
        self: Any, namespace: str, r_id: str, dimension: str, min_capacity: Any, max_capacity: Any, **more: Any
    ) -> Any:
        known = self.targets.get(dimension, {}).get(r_id)
        least = known.min_capacity if known and min_capacity is None else min_capacity
        most = known.max_capacity if known and max_capacity is None else max_capacity
        if least is None or most is None:
            raise _refuse("MinCapacity and MaxCapacity must be specified to register a new scalable target")
        _check_bounds(least, most)
        arguments = {"min_capacity": min_capacity, "max_capacity": max_capacity, **more}
        return register(self, namespace, r_id, dimension, **arguments)

    backend.register_scalable_target = register_scalable_target


def _check_bounds(least: int | None, most: int | None) -> None:
    for name, value in (("MinCapacity", least), ("MaxCapacity", most)):
        if value is not None and int(value) < 0:
            raise _refuse(f"{name} must be 0 or more, got {value}")
    if least is not None and most is not None and int(least) > int(most):
        raise _refuse(f"MaxCapacity must be MinCapacity ({least}) or more, got {most}")


def _delete_with_the_target(backend: Any) -> None:
    """Delete a deregistered target's policies, with their alarms, and its scheduled actions."""
    deregister = backend.deregister_scalable_target

    @functools.wraps(deregister)
    def deregister_scalable_target(self: Any, namespace: str, r_id: str, dimension: str) -> None:
        _require_target(self, namespace, r_id, dimension)
        deregister(self, namespace, r_id, dimension)
        owner = (namespace, r_id, dimension)
        for key, policy in list(self.policies.items()):
            if _belongs(policy, *owner):
                policy.delete_alarms(self.account_id, self.region_name)
                del self.policies[key]
        self.scheduled_actions = [action for action in self.scheduled_actions if not _belongs(action, *owner)]

    backend.deregister_scalable_target = deregister_scalable_target


def _require_target(self: Any, namespace: str, r_id: str, dimension: str) -> None:
    if r_id not in self.targets.get(dimension, {}):
        raise _not_found("scalable target", namespace, r_id, dimension)


# ---- policies ----------------------------------------------------------------------------------------------


def _check_policies(backend: Any) -> None:
    put, delete = backend.put_scaling_policy, backend.delete_scaling_policy

    @functools.wraps(put)
    def put_scaling_policy(
        self: Any,
        policy_name: str,
        service_namespace: str,
        resource_id: str,
        scalable_dimension: str,
        policy_body: dict[str, Any] | None,
        policy_type: str | None,
    ) -> Any:
        identity = (service_namespace, resource_id, scalable_dimension)
        _require_target(self, *identity)
        key = FakeApplicationAutoscalingPolicy.formulate_key(*identity, policy_name)
        before = self.policies.get(key)
        if before is None and sum(_belongs(item, *identity) for item in self.policies.values()) >= _MAX_POLICIES:
            raise _limit_exceeded("scalable target", f"{_MAX_POLICIES} scaling policies")
        kind = policy_type or (before.policy_type if before else None)
        body = policy_body or (before._policy_body if before else None)
        if kind in ("StepScaling", "TargetTrackingScaling"):
            (_check_steps if kind == "StepScaling" else _check_tracking)(body or {})
        if before is not None:
            before.delete_alarms(self.account_id, self.region_name)
        made = put(self, policy_name, *identity, body, kind)
        if before is not None:  # an update keeps the policy's identity
            made.policy_arn, made.creation_time = before.policy_arn, before.creation_time
        return made

    @functools.wraps(delete)
    def delete_scaling_policy(
        self: Any, policy_name: str, service_namespace: str, resource_id: str, scalable_dimension: str
    ) -> None:
        identity = (service_namespace, resource_id, scalable_dimension)
        if FakeApplicationAutoscalingPolicy.formulate_key(*identity, policy_name) not in self.policies:
            raise _not_found("scaling policy", *identity, policy_name)
        delete(self, policy_name, *identity)

    backend.put_scaling_policy = put_scaling_policy
    backend.delete_scaling_policy = delete_scaling_policy


def _check_steps(body: dict[str, Any]) -> None:
    """https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html."""
    steps: list[dict[str, Any]] = body.get("StepAdjustments") or []
    if not body.get("AdjustmentType") or not steps:
        raise _refuse("a step scaling policy must have AdjustmentType and StepAdjustments")
    if len(steps) > _MAX_STEPS:
        raise _limit_exceeded("step scaling policy", f"{_MAX_STEPS} step adjustments")
    if body["AdjustmentType"] == "ExactCapacity" and any(int(step["ScalingAdjustment"]) < 0 for step in steps):
        raise _refuse("with ExactCapacity, ScalingAdjustment must be 0 or more")
    bounds = sorted(
        (
            float("-inf") if step.get("MetricIntervalLowerBound") is None else float(step["MetricIntervalLowerBound"]),
            float("inf") if step.get("MetricIntervalUpperBound") is None else float(step["MetricIntervalUpperBound"]),
        )
        for step in steps
    )
    if (float("-inf"), float("inf")) in bounds:
        raise _refuse("a step adjustment must have a lower bound, an upper bound, or both")
    if any(lower >= upper for lower, upper in bounds):
        raise _refuse("a step adjustment's upper bound must be above its lower bound")
    for (_, upper), (lower, _) in itertools.pairwise(bounds):
        if upper != lower:
            raise _refuse(f"step adjustments must neither overlap nor leave a gap, got {upper:g} and {lower:g}")
    if bounds[0][0] < 0 and bounds[0][0] != float("-inf"):
        raise _refuse("with a negative lower bound, one step adjustment must have no lower bound")
    if bounds[-1][1] > 0 and bounds[-1][1] != float("inf"):
        raise _refuse("with a positive upper bound, one step adjustment must have no upper bound")


def _check_tracking(body: dict[str, Any]) -> None:
    given = [name for name in ("PredefinedMetricSpecification", "CustomizedMetricSpecification") if body.get(name)]
    if len(given) != 1:
        raise _refuse("a target tracking policy must have either a predefined or a customized metric specification")
    if body.get("TargetValue") is None:
        raise _refuse("a target tracking policy must have a TargetValue")


def _create_tracking_alarms(policy: Any) -> None:
    """Create the alarms of an endpoint's target tracking policy in CloudWatch, where they show what it evaluates."""
    create = policy.create_alarms

    @functools.wraps(create)
    def create_alarms(self: Any) -> None:
        create(self)
        if (self.policy_type, self.service_namespace) == ("TargetTrackingScaling", "sagemaker"):
            self.alarms += [_tracking_alarm(self, kind) for kind in ("AlarmHigh", "AlarmLow")]

    policy.create_alarms = create_alarms


def _tracking_alarm(policy: Any, kind: str) -> Any:
    described = {
        "PolicyARN": policy.policy_arn,
        "PolicyName": policy.policy_name,
        "PolicyType": policy.policy_type,
        "ResourceId": policy.resource_id,
        "TargetTrackingScalingPolicyConfiguration": policy._policy_body,
    }
    target = {"ResourceId": policy.resource_id, "MinCapacity": 0, "MaxCapacity": 0}
    try:
        [rule] = ScalingConfig.of(target, [described], []).policies
    except ValueError as error:
        raise _refuse(str(error)) from error
    alarm: Any = getattr(rule, "high_alarm" if kind == "AlarmHigh" else "low_alarm")
    if not isinstance(alarm.series, MetricSeries):
        raise _refuse("target tracking with metric math is not supported by the embedded AWS")
    metric = alarm.series.metric
    return cloudwatch_backends[ACCOUNT_ID][REGION].put_metric_alarm(
        name=f"{TRACKING_PREFIX.removesuffix('endpoint/')}{policy.resource_id}-{kind}-{uuid.uuid4()}",
        metric_data_queries=[],
        comparison_operator=alarm.comparison,
        evaluation_periods=alarm.evaluation_periods,
        threshold=alarm.threshold,
        description=f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.policy_arn}.",
        alarm_actions=[policy.policy_arn],
        namespace=metric.namespace,
        metric_name=metric.name,
        period=alarm.series.period,
        statistic=alarm.series.statistic,
        dimensions=[{"Name": name, "Value": value} for name, value in sorted(metric.dimensions)],
    )


# ---- scheduled actions -------------------------------------------------------------------------------------


def _check_scheduled_actions(backend: Any) -> None:
    put, delete = backend.put_scheduled_action, backend.delete_scheduled_action

    @functools.wraps(put)
    def put_scheduled_action(self: Any, **action: Any) -> None:
        identity = (action["service_namespace"], action["resource_id"], action["scalable_dimension"])
        _require_target(self, *identity)
        known = any(_is_action(item, *identity, action["scheduled_action_name"]) for item in self.scheduled_actions)
        if not known and sum(_belongs(item, *identity) for item in self.scheduled_actions) >= _MAX_ACTIONS:
            raise _limit_exceeded("scalable target", f"{_MAX_ACTIONS} scheduled actions")
        bounds: dict[str, Any] = action.get("scalable_target_action") or {}
        if not known and not (action.get("schedule") and bounds):
            raise _refuse("a new scheduled action must have a Schedule and a ScalableTargetAction")
        _check_bounds(bounds.get("MinCapacity"), bounds.get("MaxCapacity"))
        start, end = action.get("start_time"), action.get("end_time")
        if start is not None and end is not None and end <= start:
            raise _refuse("EndTime must be after StartTime")
        if action.get("schedule"):
            try:
                ScheduledAction("", action["schedule"], action.get("timezone") or "UTC", None, None)
            except ValueError as error:
                raise _refuse(str(error)) from error
        put(self, **action)

    @functools.wraps(delete)
    def delete_scheduled_action(
        self: Any, service_namespace: str, scheduled_action_name: str, resource_id: str, scalable_dimension: str
    ) -> None:
        identity = (service_namespace, resource_id, scalable_dimension)
        if not any(_is_action(item, *identity, scheduled_action_name) for item in self.scheduled_actions):
            raise _not_found("scheduled action", *identity, scheduled_action_name)
        delete(self, service_namespace, scheduled_action_name, resource_id, scalable_dimension)

    backend.put_scheduled_action = put_scheduled_action
    backend.delete_scheduled_action = delete_scheduled_action


def _is_action(item: Any, namespace: str, resource_id: str, dimension: str, name: str) -> bool:
    return _belongs(item, namespace, resource_id, dimension) and item.scheduled_action_name == name


def _belongs(item: Any, namespace: str, resource_id: str, dimension: str) -> bool:
    """Return whether a policy or scheduled action is the target's."""
    return (item.service_namespace, item.resource_id, item.scalable_dimension) == (namespace, resource_id, dimension)
