"""Target tracking: capacity in proportion to a metric, through two alarms that Application Auto Scaling makes itself.

https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
"""

import math
from dataclasses import dataclass

from local_aws.autoscaling.alarms import Alarm
from local_aws.autoscaling.series import Series

_OUT_PERIODS = 3  # minutes above the target before scaling out
_IN_PERIODS = 15  # minutes well below it before scaling in
_IN_SHARE = 0.9  # "usually more than 10% lower than the target value"


@dataclass(frozen=True)
class TargetTracking:
    """One target tracking policy; cooldowns in seconds. `series` has a period of one minute."""

    arn: str
    name: str
    series: Series
    target: float
    scale_out_cooldown: float = 300.0
    scale_in_cooldown: float = 300.0
    disable_scale_in: bool = False

    def __post_init__(self) -> None:
        if not self.target > 0:
            raise ValueError(f"TargetValue must be above 0, got {self.target:g}")

    @property
    def high(self) -> Alarm:
        """The alarm that asks for more: above the target in 3 of 3 minutes."""
        name = f"TargetTracking-{self.name}-AlarmHigh"
        return Alarm(name, self.series, "GreaterThanThreshold", self.target, _OUT_PERIODS, _OUT_PERIODS)

    @property
    def low(self) -> Alarm:
        """The alarm that allows less: below nine tenths of the target in 15 of 15 minutes."""
        name = f"TargetTracking-{self.name}-AlarmLow"
        return Alarm(name, self.series, "LessThanThreshold", _IN_SHARE * self.target, _IN_PERIODS, _IN_PERIODS)

    def capacity(self, current: int, metric: float) -> int:
        """Instances that bring `metric`, measured at `current` instances, to the target; rounded up.

        At no instance the metric is that of one: SageMaker's backlog per instance is then the backlog itself. AWS does
        not document this; it does say that the endpoint then scales out once the backlog exceeds the target.
        """
        return math.ceil(max(current, 1) * metric / self.target)
