"""What a policy remembers of its scaling activities: which capacity it added, and how long it must wait.

https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html#step-scaling-cooldown
"""

from dataclasses import dataclass


@dataclass
class Activity:
    """One change of the desired capacity by one policy. Cooldowns begin when it completes; times in seconds."""

    policy_arn: str
    before: int
    after: int
    started_at: float
    completed_at: float | None = None

    @property
    def scales_out(self) -> bool:
        """Whether it adds capacity."""
        return self.after > self.before

    def cools(self, cooldown: float, now: float) -> bool:
        """Whether `cooldown` seconds have not passed since it completed."""
        return self.completed_at is None or now < self.completed_at + cooldown


class Activities:
    """The activities of one scalable target: the one under way, and the last in each direction."""

    def __init__(self) -> None:
        self._last_out: dict[str, Activity] = {}
        self._last_in: Activity | None = None
        self._under_way: Activity | None = None

    def start(self, activity: Activity) -> None:
        """Remembers an activity. A scale-out ends the cooldown of the scale-in before it."""
        self._under_way = activity
        if activity.scales_out:
            self._last_out[activity.policy_arn] = activity
            self._last_in = None
        else:
            self._last_in = activity

    def complete(self, now: float) -> None:
        """Ends the activity under way: its cooldown begins."""
        if self._under_way:
            self._under_way.completed_at = now
            self._under_way = None

    def added(self, policy_arn: str, cooldown: float, now: float) -> int:
        """Capacity that the policy added lately: within its cooldown it counts towards what it may add next."""
        last = self._last_out.get(policy_arn)
        return last.after - last.before if last and last.cools(cooldown, now) else 0

    def blocks_scale_in(self, cooldown: float, now: float) -> bool:
        """Whether an earlier scale-in still cools down."""
        return self._last_in is not None and self._last_in.cools(cooldown, now)
