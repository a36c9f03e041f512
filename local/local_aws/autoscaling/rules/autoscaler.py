"""Application Auto Scaling for one scalable target: from alarm states to a desired capacity, with cooldowns.

Where policies disagree, "Application Auto Scaling gives precedence to the policy that provides the largest capacity for
both scale out and scale in", and it scales in "only if all of the target tracking policies (with the scale-in portion
enabled) are ready to scale in".
https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html#step-scaling-cooldown
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from local_aws.autoscaling.rules.alarms import AlarmEvaluator
from local_aws.autoscaling.rules.metrics import MetricStore
from local_aws.autoscaling.rules.policies import ScalingPolicy, StepScaling, TargetTracking


@dataclass(frozen=True)
class ScalableTarget:
    """A scalable target as RegisterScalableTarget defines it.

    `suspended`: DynamicScalingIn, DynamicScalingOut and ScheduledScaling, those that SuspendedState suspends.
    """

    resource_id: str
    min_capacity: int
    max_capacity: int
    suspended: frozenset[str] = frozenset()

    def clamp(self, capacity: int) -> int:
        return min(max(capacity, self.min_capacity), self.max_capacity)


@dataclass(frozen=True)
class Decision:
    """A new desired capacity and the reason for it.

    `policy` is the name of the policy behind it and `alarm` the alarm that invoked that policy, both empty when the
    bounds are.
    """

    desired: int
    reason: str
    policy: str = ""
    alarm: str = ""


@dataclass(frozen=True)
class NotScaled:
    """A change that an alarm asked for, but a bound of the target prevents.

    `code`: AlreadyAtMaxCapacity or AlreadyAtMinCapacity; `bound`: that capacity.
    https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-scaling-activities.html
    """

    code: str
    bound: int
    policy: str
    alarm: str


@dataclass(frozen=True)
class _Proposal:
    policy: ScalingPolicy
    capacity: int
    alarm: str


@dataclass
class _ScalingActivity:
    """A change of the desired capacity by one policy. Its cooldown starts when it completes."""

    before: int
    after: int
    completed_at: float | None = None

    def in_cooldown(self, cooldown: float, now: float) -> bool:
        return self.completed_at is None or now < self.completed_at + cooldown


class _TargetTrackingAlarms:
    def __init__(self, policy: TargetTracking) -> None:
        self.policy = policy
        self.high = AlarmEvaluator(policy.high_alarm)
        self.low = AlarmEvaluator(policy.low_alarm)

    @property
    def ready_to_scale_in(self) -> bool:
        return not self.policy.disable_scale_in and self.low.state == "ALARM"


class Autoscaler:
    """Decide once a minute. A new autoscaler starts without cooldowns."""

    def __init__(self, target: ScalableTarget, policies: Iterable[ScalingPolicy]) -> None:
        self.target = target
        self._steps: dict[str, StepScaling] = {}  # by ARN
        self._tracking: list[_TargetTrackingAlarms] = []
        for policy in policies:
            if isinstance(policy, StepScaling):
                self._steps[policy.arn] = policy
            else:
                self._tracking.append(_TargetTrackingAlarms(policy))
        self.not_scaled: NotScaled | None = None  # at the last decision
        self._enforce_bounds = False
        self._in_progress: _ScalingActivity | None = None
        self._last_scale_in: _ScalingActivity | None = None
        self._last_scale_out: dict[str, _ScalingActivity] = {}  # by the policy's ARN

    @property
    def alarms(self) -> list[AlarmEvaluator]:
        """The alarms that the target tracking policies created."""
        return [alarm for tracking in self._tracking for alarm in (tracking.high, tracking.low)]

    def register(self, target: ScalableTarget, *, enforce: bool = False) -> None:
        """Replace the target. `enforce` moves the capacity into its bounds at once, as a new registration does."""
        self.target = target
        self._enforce_bounds = enforce or self._enforce_bounds

    def decide(
        self, store: MetricStore, alarms: Iterable[AlarmEvaluator], now: float, *, desired: int, settled: bool
    ) -> Decision | None:
        """Return the change to make at `now` (seconds), if any. `alarms` are the account's, already evaluated.

        `settled`: the endpoint has reached its last requested capacity; SageMaker refuses changes until then.
        """
        for alarm in self.alarms:
            alarm.evaluate(store, now)
        self.not_scaled = None
        if not settled:
            return None
        if self._in_progress:
            self._in_progress.completed_at = now
            self._in_progress = None
        enforce, self._enforce_bounds = self._enforce_bounds, False
        if enforce and self.target.clamp(desired) != desired:
            bounded = self.target.clamp(desired)
            return Decision(bounded, f"new bounds: {desired} -> {bounded}")
        proposal = self._choose(
            [*self._step_proposals(alarms, desired), *self._tracking_proposals(desired)], desired, now
        )
        if proposal is None:
            return None
        self._in_progress = _ScalingActivity(desired, proposal.capacity)
        if proposal.capacity > desired:
            self._last_scale_out[proposal.policy.arn] = self._in_progress
            self._last_scale_in = None  # scaling out ends the cooldown of an earlier scale-in
        else:
            self._last_scale_in = self._in_progress
        reason = f"{proposal.policy.name}: {desired} -> {proposal.capacity}"
        return Decision(proposal.capacity, reason, proposal.policy.name, proposal.alarm)

    def _step_proposals(self, alarms: Iterable[AlarmEvaluator], desired: int) -> list[_Proposal]:
        return [
            _Proposal(
                policy,
                desired + policy.change(desired, alarm.recent, alarm.definition.threshold),
                alarm.definition.name,
            )
            for alarm in alarms
            for arn in alarm.actions
            if (policy := self._steps.get(arn))
        ]

    def _tracking_proposals(self, desired: int) -> list[_Proposal]:
        """A high alarm may only add instances; a low alarm may only remove them, and only if all low alarms agree."""
        all_ready = all(item.ready_to_scale_in for item in self._tracking if not item.policy.disable_scale_in)
        proposals: list[_Proposal] = []
        for tracking in self._tracking:
            policy = tracking.policy
            if tracking.high.state == "ALARM":
                alarm, capacity = tracking.high, max(desired, policy.capacity(desired, tracking.high.recent[-1]))
            elif all_ready and tracking.ready_to_scale_in:
                alarm, capacity = tracking.low, min(desired, policy.capacity(desired, tracking.low.recent[-1]))
            else:
                continue
            proposals.append(_Proposal(policy, capacity, alarm.definition.name))
        return proposals

    def _choose(self, proposals: list[_Proposal], desired: int, now: float) -> _Proposal | None:
        """Prefer any scale-out; otherwise scale in to the largest proposed capacity."""
        suspended = self.target.suspended
        proposals = [
            item
            for item in proposals
            if ("DynamicScalingOut" if item.capacity > desired else "DynamicScalingIn") not in suspended
        ]
        out = [item for item in proposals if item.capacity > desired]
        if out:
            candidates = [replace(item, capacity=self._less_recently_added(item, desired, now)) for item in out]
        else:
            last = self._last_scale_in
            allowed = [p for p in proposals if not (last and last.in_cooldown(p.policy.scale_in_cooldown, now))]
            largest = max((item.capacity for item in allowed), default=desired)
            candidates = [item for item in allowed if item.capacity == largest]
        bounded = [replace(item, capacity=self.target.clamp(item.capacity)) for item in candidates]
        best = max(bounded, key=lambda item: item.capacity, default=None)
        if best and (best.capacity > desired if out else best.capacity < desired):
            return best
        self.not_scaled = self._blocked(candidates, desired)
        return None

    def _blocked(self, candidates: list[_Proposal], desired: int) -> NotScaled | None:
        """Return what a bound of the target prevents, if it does."""
        wanted = next((item for item in candidates if item.capacity != desired), None)
        if wanted is None:
            return None
        if wanted.capacity > desired:
            code, bound = "AlreadyAtMaxCapacity", self.target.max_capacity
        else:
            code, bound = "AlreadyAtMinCapacity", self.target.min_capacity
        return NotScaled(code, bound, wanted.policy.name, wanted.alarm)

    def _less_recently_added(self, proposal: _Proposal, desired: int, now: float) -> int:
        """Within its cooldown, the capacity that a policy last added counts towards what it may add next."""
        last = self._last_scale_out.get(proposal.policy.arn)
        if last is None or not last.in_cooldown(proposal.policy.scale_out_cooldown, now):
            return proposal.capacity
        return max(desired, proposal.capacity - (last.after - last.before))
