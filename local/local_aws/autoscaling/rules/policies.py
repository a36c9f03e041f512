"""Step scaling and target tracking policies of Application Auto Scaling.

https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html
https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import fmean

from local_aws.autoscaling.rules.alarms import Alarm
from local_aws.autoscaling.rules.metrics import Series

ADJUSTMENT_TYPES = ("ChangeInCapacity", "PercentChangeInCapacity", "ExactCapacity")
AGGREGATIONS = {"Average": fmean, "Minimum": min, "Maximum": max}
_SCALE_OUT_PERIODS = 3  # minutes above the target before scaling out
_SCALE_IN_PERIODS = 15  # minutes well below it before scaling in
_SCALE_IN_FRACTION = 0.9  # "usually more than 10% lower than the target value"


@dataclass(frozen=True)
class StepAdjustment:
    """A capacity adjustment for a range of the metric, relative to the alarm's threshold."""

    adjustment: int
    lower: float = -math.inf
    upper: float = math.inf

    def covers(self, distance: float) -> bool:
        """Return whether the range covers `distance`: lower bound inclusive above the threshold, upper below it."""
        if distance >= 0:
            return self.lower <= distance < self.upper
        return self.lower < distance <= self.upper


@dataclass(frozen=True)
class StepScaling:
    """A step scaling policy; `cooldown` in seconds."""

    arn: str
    name: str
    adjustment_type: str
    steps: tuple[StepAdjustment, ...]
    cooldown: float = 300.0
    aggregation: str = "Average"
    min_magnitude: int = 0

    def __post_init__(self) -> None:
        if self.adjustment_type not in ADJUSTMENT_TYPES:
            raise ValueError(f"AdjustmentType must be one of {', '.join(ADJUSTMENT_TYPES)}, got {self.adjustment_type}")
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(f"MetricAggregationType must be one of {', '.join(AGGREGATIONS)}, got {self.aggregation}")

    scale_out_cooldown = scale_in_cooldown = property(attrgetter("cooldown"))

    def change(self, capacity: int, recent: Sequence[float], threshold: float) -> int:
        """Return the instances to add at `capacity`, negative to remove; 0 without datapoints or a matching step."""
        if not recent:
            return 0
        distance = AGGREGATIONS[self.aggregation](recent) - threshold
        adjustment = next((step.adjustment for step in self.steps if step.covers(distance)), 0)
        if self.adjustment_type == "ExactCapacity":
            return adjustment - capacity
        if self.adjustment_type == "ChangeInCapacity":
            return adjustment
        if capacity * adjustment == 0:
            return 0
        # Percentages round towards zero, but change by at least one and at least `min_magnitude`.
        size = max(abs(capacity * adjustment) // 100, 1, self.min_magnitude)
        return size if adjustment > 0 else -size


@dataclass(frozen=True)
class TargetTracking:
    """A target tracking policy; cooldowns in seconds. `series` has a period of one minute."""

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
    def high_alarm(self) -> Alarm:
        """The alarm for scaling out: above the target in 3 of 3 minutes."""
        name, periods = f"TargetTracking-{self.name}-AlarmHigh", _SCALE_OUT_PERIODS
        return Alarm(name, self.series, "GreaterThanThreshold", self.target, periods, periods)

    @property
    def low_alarm(self) -> Alarm:
        """The alarm for scaling in: below nine tenths of the target in 15 of 15 minutes."""
        name, periods = f"TargetTracking-{self.name}-AlarmLow", _SCALE_IN_PERIODS
        return Alarm(name, self.series, "LessThanThreshold", _SCALE_IN_FRACTION * self.target, periods, periods)

    def capacity(self, current: int, metric: float) -> int:
        """Return the instances that bring `metric`, measured at `current` instances, to the target; rounded up.

        At zero instances, the metric counts as that of one: the backlog per instance is then the backlog itself. AWS
        does not document this, but says that the endpoint then scales out once the backlog exceeds the target.
        """
        return math.ceil(max(current, 1) * metric / self.target)


ScalingPolicy = StepScaling | TargetTracking
