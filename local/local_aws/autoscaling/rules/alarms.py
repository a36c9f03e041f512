"""CloudWatch alarms: their definition, their state, and how missing data changes it."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from local_aws.autoscaling.rules.metrics import MetricStore, Series, datapoints

AlarmState = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
TreatMissingData = Literal["missing", "ignore", "breaching", "notBreaching"]

# CloudWatch retrieves "a higher number of data points than the number specified as Evaluation Periods". It does not say
# how many; its examples retrieve five for three.
EXTRA_DATAPOINTS = 2
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


@dataclass(frozen=True)
class Alarm:
    """An alarm as PutMetricAlarm defines it. `actions` are ARNs by alarm state."""

    name: str
    series: Series
    comparison: str
    threshold: float
    evaluation_periods: int
    datapoints_to_alarm: int
    treat_missing_data: TreatMissingData = "missing"
    actions: Mapping[AlarmState, tuple[str, ...]] = field(default_factory=dict[AlarmState, tuple[str, ...]])

    def __post_init__(self) -> None:
        if self.comparison not in COMPARISONS:
            raise ValueError(f"ComparisonOperator must be one of {', '.join(COMPARISONS)}, got {self.comparison}")
        if not 1 <= self.datapoints_to_alarm <= self.evaluation_periods:
            raise ValueError(
                f"DatapointsToAlarm must be 1 to EvaluationPeriods ({self.evaluation_periods}), "
                f"got {self.datapoints_to_alarm}"
            )

    def breaches(self, value: float) -> bool:
        return COMPARISONS[self.comparison](value, self.threshold)


class AlarmEvaluator:
    """Track an alarm's state, which starts as INSUFFICIENT_DATA, as on CloudWatch."""

    def __init__(self, definition: Alarm) -> None:
        self.definition = definition
        self.state: AlarmState = "INSUFFICIENT_DATA"
        self.recent: list[float] = []

    def evaluate(self, store: MetricStore, now: float) -> bool:
        """Update `state`, and `recent` with the datapoints present, oldest first. Return whether the state changed."""
        alarm, before = self.definition, self.state
        points = datapoints(alarm.series, store, now, alarm.evaluation_periods + EXTRA_DATAPOINTS)
        breaching = [None if point is None else alarm.breaches(point) for point in points]
        self.state = next_state(alarm, breaching, before)
        self.recent = [point for point in points if point is not None][-alarm.evaluation_periods :]
        return self.state != before

    @property
    def actions(self) -> tuple[str, ...]:
        """The ARNs to invoke in the current state. Scaling actions repeat each minute while the state lasts.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-actions.html
        """
        return self.definition.actions.get(self.state, ())


def next_state(alarm: Alarm, points: Sequence[bool | None], current: AlarmState) -> AlarmState:
    """Return the alarm's state after `points`: breaching, not breaching or missing (None), oldest first.

    `points` covers the whole evaluation range. If at least `evaluation_periods` points are present, the latest of them
    decide and missing data does not matter. `current` is the state so far, which `ignore` keeps.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    present = [point for point in points if point is not None]
    missing = max(alarm.evaluation_periods - len(present), 0)
    breaching = sum(present[-alarm.evaluation_periods :])
    if alarm.treat_missing_data == "breaching":
        breaching += missing
    if breaching >= alarm.datapoints_to_alarm:
        return "ALARM"
    if not missing or alarm.treat_missing_data in ("breaching", "notBreaching") or not all(present):
        return "OK"
    if alarm.treat_missing_data == "ignore":
        return current
    # Too few points, all of them breaching: ALARM once the oldest is at least as old as the datapoints to alarm.
    oldest = max((age for age, point in enumerate(reversed(points), start=1) if point), default=0)
    return "ALARM" if oldest >= alarm.datapoints_to_alarm else "INSUFFICIENT_DATA"
