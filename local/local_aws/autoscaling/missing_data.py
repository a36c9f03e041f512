"""An alarm's state from its datapoints, some of which may be missing.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from collections.abc import Sequence
from typing import Literal

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
Treatment = Literal["missing", "ignore", "breaching", "notBreaching"]

# CloudWatch retrieves "a higher number of data points than the number specified as Evaluation Periods"; its examples
# retrieve five for three, and say no more.
EXTRA_DATAPOINTS = 2


def judge(
    points: Sequence[bool | None], evaluation_periods: int, datapoints_to_alarm: int, treatment: Treatment, now: State
) -> State:
    """The state after `points`: breaching, not breaching or missing (None), oldest first, the whole evaluation range.

    Real points count before filled ones: where there are as many as evaluation periods, the latest of them decide and
    the treatment does not matter. `now` is the state so far, which `ignore` keeps.
    """
    real = [point for point in points if point is not None]
    if len(real) >= evaluation_periods:
        return _counted(sum(real[-evaluation_periods:]), datapoints_to_alarm)
    filled = (evaluation_periods - len(real)) if treatment == "breaching" else 0
    if treatment in ("breaching", "notBreaching"):
        return _counted(sum(real) + filled, datapoints_to_alarm)
    if sum(real) >= datapoints_to_alarm:
        return "ALARM"
    if not all(real):
        return "OK"
    return now if treatment == "ignore" else _only_breaching(points, datapoints_to_alarm)


def _counted(breaching: int, needed: int) -> State:
    return "ALARM" if breaching >= needed else "OK"


def _only_breaching(points: Sequence[bool | None], datapoints_to_alarm: int) -> State:
    """Too few points, none of them good: ALARM once the oldest is as old as the datapoints to alarm, not before."""
    ages = [age for age, point in enumerate(reversed(points), start=1) if point]
    return "ALARM" if ages and max(ages) >= datapoints_to_alarm else "INSUFFICIENT_DATA"
