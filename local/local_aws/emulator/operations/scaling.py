"""Application Auto Scaling: DescribeScalingActivities, and the alarms of step scaling policies.

The texts are those of AWS's examples, which are about other services:
https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-scaling-activities.html
https://docs.aws.amazon.com/cli/latest/reference/application-autoscaling/describe-scaling-activities.html
"""

import json
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.exceptions import JsonRESTError

from local_aws.autoscaling.rules.autoscaler import NotScaled
from local_aws.autoscaling.rules.scheduled_actions import ScheduledAction

_MAX_ACTIVITIES = 10_000  # AWS keeps six weeks
_MAX_RESULTS = 50
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_activities: deque["Activity"] = deque(maxlen=_MAX_ACTIVITIES)
_lock = threading.Lock()


@dataclass
class Activity:
    """What was done with one variant, `resource_id`; `desired`: the instance count that was requested, if any."""

    resource_id: str
    description: str
    cause: str
    desired: int | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    status: str = "InProgress"
    message: str = ""
    not_scaled: dict[str, Any] | None = None
    activity_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def shown(self) -> dict[str, Any]:
        """Return the activity as DescribeScalingActivities shows it."""
        found: dict[str, Any] = {
            "ActivityId": self.activity_id,
            "ServiceNamespace": "sagemaker",
            "ResourceId": self.resource_id,
            "ScalableDimension": _DIMENSION,
            "Description": self.description,
            "Cause": self.cause,
            "StartTime": self.started.timestamp(),
            "StatusCode": self.status,
        }
        if self.message:
            found["StatusMessage"] = self.message
        if self.not_scaled:
            found["NotScaledReasons"] = [self.not_scaled]
        return found | ({"EndTime": self.ended.timestamp()} if self.ended else {})


def begin_activity(resource_id: str, desired: int, cause: str, refusal: str | None = None) -> None:
    """Record a change that SageMaker accepted, or refused with the message `refusal`."""
    done = f"Successfully set desired instance count to {desired}. Waiting for change to be fulfilled by sagemaker."
    activity = Activity(resource_id, f"Setting desired instance count to {desired}.", cause, desired, message=done)
    if refusal:
        activity.status, activity.ended = "Failed", activity.started
        activity.message = f"Failed to set desired instance count to {desired}. Reason: {refusal}"
    with _lock:
        _activities.append(activity)


def record_scheduled_action(resource_id: str, action: ScheduledAction) -> None:
    """Record that a scheduled action has set a target's bounds."""
    given = (("min", action.min_capacity), ("max", action.max_capacity))
    bounds = " and ".join(f"{name} capacity to {value}" for name, value in given if value is not None)
    cause = f"scheduled action name {action.name} was triggered"
    activity = Activity(
        resource_id, f"Setting {bounds}", cause, status="Successful", message=f"Successfully set {bounds}"
    )
    with _lock:
        _activities.append(activity)


def record_not_scaled(resource_id: str, blocked: NotScaled) -> None:
    """Record what a bound prevents, once until there is another activity of the target."""
    bound = "MaxCapacity" if blocked.code == "AlreadyAtMaxCapacity" else "MinCapacity"
    reason = {"Code": blocked.code, bound: blocked.bound}
    cause = f"monitor alarm {blocked.alarm} in state ALARM triggered policy {blocked.policy}"
    activity = Activity(resource_id, "Attempting to scale due to alarm triggered", cause, status="Failed")
    activity.not_scaled = reason
    with _lock:
        latest = next((item for item in reversed(_activities) if item.resource_id == resource_id), None)
        if latest is None or (latest.cause, latest.not_scaled) != (cause, reason):
            _activities.append(activity)


def complete_activities(resource_id: str) -> None:
    """Record that the variant has the instances that were last requested."""
    with _lock:
        for activity in _activities:
            if activity.resource_id == resource_id and activity.status == "InProgress":
                activity.status, activity.ended = "Successful", datetime.now(UTC)
                activity.message = (
                    f"Successfully set desired instance count to {activity.desired}. "
                    "Change successfully fulfilled by sagemaker."
                )


def install() -> None:
    """Answer DescribeScalingActivities, and complete moto's answers of DescribeScalingPolicies."""
    responses = cast(Any, ApplicationAutoScalingResponse)
    describe = responses.describe_scaling_policies
    with _lock:
        _activities.clear()

    def describe_scaling_policies(self: Any) -> str:
        answer = json.loads(describe(self))
        alarms = cloudwatch_backends[self.current_account][self.region].alarms.values()
        for policy in answer["ScalingPolicies"]:
            if policy["PolicyType"] == "StepScaling":
                policy["Alarms"] = [
                    {"AlarmName": alarm.name, "AlarmARN": alarm.alarm_arn}
                    for alarm in alarms
                    if policy["PolicyARN"] in (alarm.alarm_actions or [])
                ]
        return json.dumps(answer)

    responses.describe_scaling_policies = describe_scaling_policies
    responses.describe_scaling_activities = _describe_scaling_activities


def _describe_scaling_activities(self: Any) -> str:
    """DescribeScalingActivities: the newest first, those of a deregistered target included."""
    self._validate_params()
    namespace, resource = self._get_param("ServiceNamespace"), self._get_param("ResourceId")
    dimension, everything = self._get_param("ScalableDimension"), self._get_param("IncludeNotScaledActivities")
    if dimension is not None and resource is None:
        raise JsonRESTError(
            "ValidationException", "If you specify a scalable dimension, you must also specify a resource ID"
        )
    first, count = int(self._get_param("NextToken") or 0), self._get_int_param("MaxResults") or _MAX_RESULTS
    with _lock:
        found = [
            item.shown()
            for item in reversed(_activities)
            if namespace == "sagemaker" and resource in (None, item.resource_id) and dimension in (None, _DIMENSION)
            if everything or not item.not_scaled
        ]
    answer: dict[str, Any] = {"ScalingActivities": found[first : first + count]}
    if first + count < len(found):
        answer["NextToken"] = str(first + count)
    return json.dumps(answer)
