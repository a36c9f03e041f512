"""Step scaling and target tracking, with the examples of AWS's user guide."""

import math

import pytest

from conformance.behaviour import documented
from local_aws.autoscaling.rules.metrics import MetricSeries
from local_aws.autoscaling.rules.policies import StepAdjustment as Step
from local_aws.autoscaling.rules.policies import StepScaling, TargetTracking

THRESHOLD = 50.0
OUT = StepScaling("out", "out", "PercentChangeInCapacity", (Step(0, 0, 10), Step(10, 10, 20), Step(30, 20, math.inf)))
IN = StepScaling(
    "in", "in", "PercentChangeInCapacity", (Step(0, -10, 0), Step(-10, -20, -10), Step(-30, -math.inf, -20))
)


@documented("https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html")
@pytest.mark.parametrize(("capacity", "metric", "change"), [(10, 55, 0), (10, 60, 1), (11, 70, 3), (10, 69.9, 1)])
def test_scale_out_steps_match_the_user_guide(capacity: int, metric: float, change: int) -> None:
    """AWS's example: at 10 instances, steps of 0, 10 and 30 percent from 50, 60 and 70."""
    assert OUT.change(capacity, [metric], THRESHOLD) == change


@pytest.mark.parametrize(("capacity", "metric", "change"), [(14, 45, 0), (14, 40, -1), (13, 30, -3), (13, 30.1, -1)])
def test_scale_in_steps_match_the_user_guide(capacity: int, metric: float, change: int) -> None:
    assert IN.change(capacity, [metric], THRESHOLD) == change


@documented("https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html")
def test_percentages_round_towards_zero_but_change_at_least_one() -> None:
    """PercentChangeInCapacity rounds down above 1, and to 1 between 0 and 1, and accordingly below zero."""
    policy = StepScaling("p", "p", "PercentChangeInCapacity", (Step(10, 0),))
    assert [policy.change(capacity, [50], THRESHOLD) for capacity in (0, 1, 19, 20)] == [0, 1, 1, 2]


def test_percentages_respect_the_minimum_magnitude() -> None:
    policy = StepScaling("p", "p", "PercentChangeInCapacity", (Step(25, 0),), min_magnitude=2)
    assert policy.change(4, [50], THRESHOLD) == 2


@documented("https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html")
def test_exact_capacity_is_reached_from_any_capacity() -> None:
    """ExactCapacity changes the current capacity to the specified value."""
    policy = StepScaling("p", "p", "ExactCapacity", (Step(5, 0),))
    assert [policy.change(capacity, [50], THRESHOLD) for capacity in (3, 5, 8)] == [2, 0, -3]


@pytest.mark.parametrize(("aggregation", "change"), [("Minimum", 1), ("Average", 2), ("Maximum", 3)])
def test_recent_datapoints_are_aggregated(aggregation: str, change: int) -> None:
    steps = (Step(1, 0, 10), Step(2, 10, 20), Step(3, 20))
    policy = StepScaling("p", "p", "ChangeInCapacity", steps, aggregation=aggregation)
    assert policy.change(1, [50.0, 80.0], THRESHOLD) == change


def test_nothing_changes_without_data_or_outside_the_steps() -> None:
    assert OUT.change(10, [], THRESHOLD) == 0
    assert OUT.change(10, [49.0], THRESHOLD) == 0


def test_unknown_settings_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"AdjustmentType must be one of .*, got Double"):
        StepScaling("p", "p", "Double", ())
    with pytest.raises(ValueError, match=r"MetricAggregationType must be one of .*, got Sum"):
        StepScaling("p", "p", "ExactCapacity", (), aggregation="Sum")


def test_tracking_scales_out_after_three_minutes_and_in_after_fifteen(backlog: MetricSeries) -> None:
    policy = TargetTracking("t", "t", backlog, 4.0)
    high, low = policy.high_alarm, policy.low_alarm
    assert (high.comparison, high.threshold, high.datapoints_to_alarm, high.evaluation_periods) == (
        "GreaterThanThreshold",
        4.0,
        3,
        3,
    )
    assert (low.comparison, low.threshold, low.datapoints_to_alarm, low.evaluation_periods) == (
        "LessThanThreshold",
        3.6,
        15,
        15,
    )
    assert high.treat_missing_data == low.treat_missing_data == "missing"


@pytest.mark.parametrize(
    ("current", "metric", "capacity"), [(1, 20, 5), (2, 4.1, 3), (4, 0, 0), (4, 0.5, 1), (0, 20, 5), (0, 0, 0)]
)
def test_tracking_capacity_is_proportional_and_rounded_up(
    backlog: MetricSeries, current: int, metric: float, capacity: int
) -> None:
    assert TargetTracking("t", "t", backlog, 4.0).capacity(current, metric) == capacity


def test_target_must_be_positive(backlog: MetricSeries) -> None:
    with pytest.raises(ValueError, match="TargetValue must be above 0, got 0"):
        TargetTracking("t", "t", backlog, 0.0)
