"""One CloudWatch alarm and its state over time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from local_aws.autoscaling.metrics import MetricStore
from local_aws.autoscaling.missing_data import EXTRA_DATAPOINTS, State, Treatment, judge
from local_aws.autoscaling.series import Series, datapoints

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


@dataclass(frozen=True)
class Alarm:
    """What PutMetricAlarm declares. `actions` are ARNs by the state that they belong to."""

    name: str
    series: Series
    comparison: str
    threshold: float
    evaluation_periods: int
    datapoints_to_alarm: int
    treatment: Treatment = "missing"
    actions: Mapping[State, tuple[str, ...]] = field(default_factory=dict[State, tuple[str, ...]])

    def __post_init__(self) -> None:
        if self.comparison not in COMPARISONS:
            raise ValueError(f"ComparisonOperator must be one of {', '.join(COMPARISONS)}, got {self.comparison}")
        if not 1 <= self.datapoints_to_alarm <= self.evaluation_periods:
            raise ValueError(
                f"DatapointsToAlarm must be 1 to EvaluationPeriods, {self.evaluation_periods}, "
                f"got {self.datapoints_to_alarm}"
            )

    def breaches(self, value: float) -> bool:
        """Whether `value` is beyond the threshold."""
        return COMPARISONS[self.comparison](value, self.threshold)


class AlarmWatch:
    """An alarm's state, starting as CloudWatch's does, with insufficient data."""

    def __init__(self, alarm: Alarm) -> None:
        self.alarm = alarm
        self.state: State = "INSUFFICIENT_DATA"
        self.recent: list[float] = []

    def evaluate(self, store: MetricStore, now: float) -> bool:
        """Sets `state` and `recent`, the real datapoints of the evaluation periods, oldest first; True on a change."""
        alarm, before = self.alarm, self.state
        points = datapoints(alarm.series, store, now, alarm.evaluation_periods + EXTRA_DATAPOINTS)
        verdicts = [None if point is None else alarm.breaches(point) for point in points]
        self.state = judge(verdicts, alarm.evaluation_periods, alarm.datapoints_to_alarm, alarm.treatment, before)
        self.recent = [point for point in points if point is not None][-alarm.evaluation_periods :]
        return self.state != before

    @property
    def actions(self) -> tuple[str, ...]:
        """The ARNs to act on now. Scaling actions repeat each minute while the state lasts.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-actions.html
        """
        return self.alarm.actions.get(self.state, ())
