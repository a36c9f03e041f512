"""Application Auto Scaling: DescribeScalingActivities, and the alarms of step scaling policies.

https://docs.aws.amazon.com/autoscaling/application/APIReference/API_ScalingActivity.html
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

_MAX_ACTIVITIES = 10_000  # AWS keeps six weeks
_MAX_RESULTS = 50
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_activities: deque["Activity"] = deque(maxlen=_MAX_ACTIVITIES)
_lock = threading.Lock()


@dataclass
class Activity:
    """A change of one variant's instance count, `resource_id`, to `desired`."""

    resource_id: str
    desired: int
    cause: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    status: str = "InProgress"
    message: str = ""
    activity_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def shown(self) -> dict[str, Any]:
        """Return the activity as DescribeScalingActivities shows it."""
        found = {
            "ActivityId": self.activity_id,
            "ServiceNamespace": "sagemaker",
            "ResourceId": self.resource_id,
            "ScalableDimension": _DIMENSION,
            "Description": f"Setting desired instance count to {self.desired}.",
            "Cause": self.cause,
            "StartTime": self.started.timestamp(),
            "StatusCode": self.status,
            "StatusMessage": self.message,
        }
        return found | ({"EndTime": self.ended.timestamp()} if self.ended else {})


def begin_activity(resource_id: str, desired: int, cause: str, refusal: str | None = None) -> None:
    """Record a change that SageMaker accepted, or refused with the message `refusal`."""
    done = f"Successfully set desired instance count to {desired}. Waiting for change to be fulfilled by sagemaker."
    activity = Activity(resource_id, desired, cause, message=done)
    if refusal:
        activity.status, activity.ended = "Failed", activity.started
        activity.message = f"Failed to set desired instance count to {desired}. Reason: {refusal}"
    with _lock:
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
    dimension = self._get_param("ScalableDimension")
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
        ]
    answer: dict[str, Any] = {"ScalingActivities": found[first : first + count]}
    if first + count < len(found):
        answer["NextToken"] = str(first + count)
    return json.dumps(answer)
