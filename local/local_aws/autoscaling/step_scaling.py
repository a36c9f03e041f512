"""Step scaling: a change of capacity by how far an alarm's metric is beyond its threshold.

https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

ADJUSTMENT_TYPES = ("ChangeInCapacity", "PercentChangeInCapacity", "ExactCapacity")
AGGREGATIONS = {"Average": fmean, "Minimum": min, "Maximum": max}


@dataclass(frozen=True)
class Step:
    """A range of the metric, relative to the alarm's threshold, and what to change in it."""

    adjustment: int
    lower: float = -math.inf
    upper: float = math.inf

    def covers(self, distance: float) -> bool:
        """Above the threshold the lower bound belongs to the range, below it the upper one."""
        if distance >= 0:
            return self.lower <= distance < self.upper
        return self.lower < distance <= self.upper


@dataclass(frozen=True)
class StepScaling:
    """One step scaling policy; `cooldown` in seconds."""

    arn: str
    name: str
    adjustment_type: str
    steps: tuple[Step, ...]
    cooldown: float = 300.0
    aggregation: str = "Average"
    min_magnitude: int = 0

    def __post_init__(self) -> None:
        if self.adjustment_type not in ADJUSTMENT_TYPES:
            raise ValueError(f"AdjustmentType must be one of {', '.join(ADJUSTMENT_TYPES)}, got {self.adjustment_type}")
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(f"MetricAggregationType must be one of {', '.join(AGGREGATIONS)}, got {self.aggregation}")

    def change(self, capacity: int, recent: Sequence[float], threshold: float) -> int:
        """Instances to add (or, negative, to remove) at `capacity`, from the alarm's recent datapoints; 0 without any.

        No step may cover the metric: then nothing changes either.
        """
        if not recent:
            return 0
        distance = AGGREGATIONS[self.aggregation](recent) - threshold
        adjustment = next((step.adjustment for step in self.steps if step.covers(distance)), 0)
        if self.adjustment_type == "ExactCapacity":
            return adjustment - capacity
        if self.adjustment_type == "PercentChangeInCapacity":
            return self._rounded(capacity * adjustment / 100)
        return adjustment

    def _rounded(self, change: float) -> int:
        """Towards zero, but by one and by `min_magnitude` at least."""
        if change == 0:
            return 0
        size = max(math.floor(abs(change)), 1, self.min_magnitude)
        return size if change > 0 else -size
