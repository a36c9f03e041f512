"""Application Auto Scaling for one scalable target: from alarms to the desired capacity.

Where policies disagree, "Application Auto Scaling gives precedence to the policy that provides the largest capacity for
both scale out and scale in", and it scales in "only if all of the target tracking policies (with the scale-in portion
enabled) are ready to scale in".
https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from local_aws.autoscaling.alarms import AlarmWatch
from local_aws.autoscaling.cooldowns import Activities, Activity
from local_aws.autoscaling.metrics import MetricStore
from local_aws.autoscaling.step_scaling import StepScaling
from local_aws.autoscaling.target_tracking import TargetTracking


@dataclass(frozen=True)
class ScalableTarget:
    """What RegisterScalableTarget declares."""

    resource_id: str
    min_capacity: int
    max_capacity: int

    def clamp(self, capacity: int) -> int:
        """`capacity` within the target's bounds."""
        return min(max(capacity, self.min_capacity), self.max_capacity)


@dataclass(frozen=True)
class Proposal:
    """The capacity that one policy asks for."""

    policy: StepScaling | TargetTracking
    capacity: int


@dataclass(frozen=True)
class Decision:
    """A new desired capacity, and in words whose wish it is."""

    desired: int
    reason: str


class Tracker:
    """A target tracking policy with its two alarms."""

    def __init__(self, policy: TargetTracking) -> None:
        self.policy = policy
        self.high = AlarmWatch(policy.high)
        self.low = AlarmWatch(policy.low)

    @property
    def ready_to_scale_in(self) -> bool:
        """Whether the metric has been low for long enough, and the policy may act on it."""
        return not self.policy.disable_scale_in and self.low.state == "ALARM"


class Autoscaler:
    """Decides once a minute. Create it anew when target or policies change: cooldowns then start over."""

    def __init__(
        self, target: ScalableTarget, steps: Iterable[StepScaling], tracking: Iterable[TargetTracking]
    ) -> None:
        self.target = target
        self._steps = {policy.arn: policy for policy in steps}
        self._trackers = [Tracker(policy) for policy in tracking]
        self._activities = Activities()
        self._enforce = False

    @property
    def watches(self) -> list[AlarmWatch]:
        """The alarms that target tracking made."""
        return [watch for tracker in self._trackers for watch in (tracker.high, tracker.low)]

    def register(self, target: ScalableTarget, *, enforce: bool = False) -> None:
        """Takes new bounds. A scheduled action enforces them; otherwise they hold from the next change on."""
        self.target = target
        self._enforce = enforce or self._enforce

    def decide(
        self, store: MetricStore, alarms: Iterable[AlarmWatch], now: float, *, desired: int, settled: bool
    ) -> Decision | None:
        """The change to make at `now` (seconds), if any. `alarms` are those of the account, evaluated.

        `settled`: the endpoint has the capacity that was last asked for. SageMaker refuses a further change until then.
        """
        for watch in self.watches:
            watch.evaluate(store, now)
        if not settled:
            return None
        self._activities.complete(now)
        enforced, self._enforce = self._enforce, False
        if enforced and self.target.clamp(desired) != desired:
            bounded = self.target.clamp(desired)
            return Decision(bounded, f"scheduled bounds: {desired} -> {bounded}")
        proposal = self._propose(list(alarms), desired, now)
        if proposal is None:
            return None
        self._activities.start(Activity(proposal.policy.arn, desired, proposal.capacity, now))
        return Decision(proposal.capacity, f"{proposal.policy.name}: {desired} -> {proposal.capacity}")

    def _propose(self, alarms: list[AlarmWatch], desired: int, now: float) -> Proposal | None:
        wishes = [*self._step_wishes(alarms, desired), *self._tracking_wishes(desired)]
        out = [self._outward(wish, desired, now) for wish in wishes if wish.capacity > desired]
        if out:
            return self._largest(out, lambda capacity: capacity > desired)
        inward = [wish for wish in wishes if not self._cools(wish.policy, now)]
        largest = max((wish.capacity for wish in inward), default=desired)
        return self._largest([wish for wish in inward if wish.capacity == largest], lambda capacity: capacity < desired)

    def _step_wishes(self, alarms: list[AlarmWatch], desired: int) -> list[Proposal]:
        return [
            Proposal(policy, desired + policy.change(desired, watch.recent, watch.alarm.threshold))
            for watch in alarms
            for arn in watch.actions
            if (policy := self._steps.get(arn))
        ]

    def _tracking_wishes(self, desired: int) -> list[Proposal]:
        """The high alarm may only add, the low one only remove, and only where all low alarms agree."""
        enabled = [tracker for tracker in self._trackers if not tracker.policy.disable_scale_in]
        may_scale_in = all(tracker.ready_to_scale_in for tracker in enabled)
        wishes: list[Proposal] = []
        for tracker in self._trackers:
            if tracker.high.state == "ALARM":
                wishes.append(Proposal(tracker.policy, max(desired, _fitting(tracker.policy, tracker.high, desired))))
            elif may_scale_in and tracker.ready_to_scale_in:
                wishes.append(Proposal(tracker.policy, min(desired, _fitting(tracker.policy, tracker.low, desired))))
        return wishes

    def _outward(self, wish: Proposal, desired: int, now: float) -> Proposal:
        cooldown = wish.policy.cooldown if isinstance(wish.policy, StepScaling) else wish.policy.scale_out_cooldown
        added = self._activities.added(wish.policy.arn, cooldown, now)
        return Proposal(wish.policy, max(desired, wish.capacity - added))

    def _cools(self, policy: StepScaling | TargetTracking, now: float) -> bool:
        cooldown = policy.cooldown if isinstance(policy, StepScaling) else policy.scale_in_cooldown
        return self._activities.blocks_scale_in(cooldown, now)

    def _largest(self, wishes: list[Proposal], changes: Callable[[int], bool]) -> Proposal | None:
        bounded = [Proposal(wish.policy, self.target.clamp(wish.capacity)) for wish in wishes]
        useful = [wish for wish in bounded if changes(wish.capacity)]
        return max(useful, key=lambda wish: wish.capacity, default=None)


def _fitting(policy: TargetTracking, watch: AlarmWatch, desired: int) -> int:
    return policy.capacity(desired, watch.recent[-1])
