"""All that is declared about the scaling of one endpoint variant."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from local_aws.autoscaling.alarms import Alarm
from local_aws.autoscaling.autoscaler import Autoscaler, ScalableTarget
from local_aws.autoscaling.definitions import (
    Described,
    alarm_from,
    scheduled_action_from,
    step_scaling_from,
    target_from,
    target_tracking_from,
)
from local_aws.autoscaling.schedules import ScheduledAction


@dataclass(frozen=True)
class Scaling:
    """One target with its policies, and all alarms, as three Describe calls or a template say."""

    target: ScalableTarget
    policies: tuple[Described, ...]
    alarms: tuple[Alarm, ...]
    scheduled: tuple[ScheduledAction, ...] = ()

    @classmethod
    def of(
        cls,
        target: Described,
        policies: Iterable[Described],
        alarms: Iterable[Described],
        scheduled: Iterable[Described] = (),
    ) -> "Scaling":
        """Picks the target's own policies; ValueError for what cannot be evaluated. `scheduled` are its own actions."""
        own = tuple(policy for policy in policies if policy["ResourceId"] == target["ResourceId"])
        actions = tuple(scheduled_action_from(action) for action in scheduled)
        return cls(target_from(target), own, tuple(alarm_from(alarm) for alarm in alarms), actions)

    def without_bystanders(self) -> "Scaling":
        """The same without the alarms that run none of the policies: a simulation has nobody to tell."""
        arns = {policy["PolicyARN"] for policy in self.policies}
        alarms = [
            alarm for alarm in self.alarms if arns & {arn for arns_of in alarm.actions.values() for arn in arns_of}
        ]
        return replace(self, alarms=tuple(alarms))

    def without_schedule(self) -> "Scaling":
        """The same without scheduled actions: what the policies do by themselves."""
        return replace(self, scheduled=())

    def autoscaler(self) -> Autoscaler:
        """A fresh autoscaler, all cooldowns over."""
        by_type: Mapping[str, list[Described]] = {
            kind: [policy for policy in self.policies if policy["PolicyType"] == kind]
            for kind in ("StepScaling", "TargetTrackingScaling")
        }
        return Autoscaler(
            self.target,
            [step_scaling_from(policy) for policy in by_type["StepScaling"]],
            [target_tracking_from(policy) for policy in by_type["TargetTrackingScaling"]],
        )
