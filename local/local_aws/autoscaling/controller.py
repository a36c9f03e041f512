"""Once a minute: publish the endpoint's metrics, evaluate the alarms, and let Application Auto Scaling decide."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from local_aws.autoscaling.alarms import Alarm, AlarmWatch
from local_aws.autoscaling.autoscaler import Autoscaler, Decision, ScalableTarget
from local_aws.autoscaling.definitions import (
    Described,
    alarm_from,
    endpoint_and_variant,
    step_scaling_from,
    target_from,
    target_tracking_from,
)
from local_aws.autoscaling.endpoint_metrics import Load, samples
from local_aws.autoscaling.metrics import Metric, MetricStore
from local_aws.autoscaling.missing_data import State

PERIOD_SECONDS = 60.0


class Variant(Protocol):
    """What is scaled: the instances of an endpoint's production variant."""

    def load(self) -> Load:
        """The endpoint now; its events are those since the call before."""
        ...

    @property
    def desired(self) -> int:
        """The instance count last asked for."""
        ...

    @property
    def settled(self) -> bool:
        """Whether the endpoint has that count, and takes another change."""
        ...

    def set_desired(self, count: int) -> None:
        """Asks for `count` instances."""
        ...


@dataclass(frozen=True)
class Scaling:
    """One target with its policies, and all alarms, as three Describe calls or a template say."""

    target: ScalableTarget
    policies: tuple[Described, ...]
    alarms: tuple[Alarm, ...]

    @classmethod
    def of(cls, target: Described, policies: Iterable[Described], alarms: Iterable[Described]) -> "Scaling":
        """Picks the target's own policies; ValueError for what cannot be evaluated."""
        own = tuple(policy for policy in policies if policy["ResourceId"] == target["ResourceId"])
        return cls(target_from(target), own, tuple(alarm_from(alarm) for alarm in alarms))

    def without_bystanders(self) -> "Scaling":
        """The same without the alarms that run none of the policies: a simulation has nobody to tell."""
        arns = {policy["PolicyARN"] for policy in self.policies}
        alarms = [
            alarm for alarm in self.alarms if arns & {arn for arns_of in alarm.actions.values() for arn in arns_of}
        ]
        return replace(self, alarms=tuple(alarms))

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


@dataclass(frozen=True)
class Minute:
    """What the controller saw and did in one minute; `at` in seconds of its clock."""

    at: float
    backlog: int
    instances: int
    desired: int
    alarms: Mapping[str, State]
    published: Sequence[tuple[Metric, float]]
    decision: Decision | None


class Controller:
    """Scales `variant` by `scaling`, which may be replaced at any time. `changed` hears of every alarm's new state."""

    def __init__(self, scaling: Scaling, variant: Variant, changed: Callable[[AlarmWatch], None] | None = None) -> None:
        self.endpoint, self.variant_name = endpoint_and_variant(scaling.target.resource_id)
        self._variant = variant
        self._changed = changed
        self._store = MetricStore()
        self._watches: dict[str, AlarmWatch] = {}
        self._scaling: Scaling | None = None
        self.deploy(scaling)

    def deploy(self, scaling: Scaling) -> None:
        """Takes a new definition: what changed starts over, what did not keeps its state."""
        before = self._scaling
        self._scaling = scaling
        if before is None or (before.target, before.policies) != (scaling.target, scaling.policies):
            self._autoscaler = scaling.autoscaler()
        kept = {watch.alarm.name: watch for watch in self._watches.values() if watch.alarm in scaling.alarms}
        self._watches = {alarm.name: kept.get(alarm.name) or AlarmWatch(alarm) for alarm in scaling.alarms}

    def tick(self, now: float) -> Minute:
        """Does the work of the minute that ends at `now`. Its samples carry the minute's start, as on CloudWatch."""
        load = self._variant.load()
        published = list(samples(self.endpoint, self.variant_name, load))
        for metric, value in published:
            self._store.put(metric, value, now - PERIOD_SECONDS)
        for watch in self._watches.values():
            if watch.evaluate(self._store, now) and self._changed:
                self._changed(watch)
        decision = self._autoscaler.decide(
            self._store, self._watches.values(), now, desired=self._variant.desired, settled=self._variant.settled
        )
        if decision:
            self._variant.set_desired(decision.desired)
        watches = [*self._watches.values(), *self._autoscaler.watches]
        states: dict[str, State] = {watch.alarm.name: watch.state for watch in watches}
        return Minute(now, load.backlog, load.instances, self._variant.desired, states, published, decision)
