"""Metric samples, series, metric math and alarms."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from local_aws.autoscaling.rules.alarms import Alarm, AlarmEvaluator
from local_aws.autoscaling.rules.metric_math import Expression
from local_aws.autoscaling.rules.metrics import MathSeries, Metric, MetricSeries, MetricStore, datapoints

Filled = Callable[..., MetricStore]


def test_samples_are_found_only_by_their_exact_dimensions() -> None:
    store = MetricStore()
    store.put(Metric.of("N", "m", {"EndpointName": "e"}), 7.0, 0.0)
    for other in ({}, {"EndpointName": "f"}, {"EndpointName": "e", "VariantName": "v"}, {"Endpoint": "e"}):
        assert store.between(Metric.of("N", "m", other), 0, 60) == []
    assert store.between(Metric.of("N", "m", {"EndpointName": "e"}), 0, 60) == [7.0]


def test_a_day_of_samples_is_kept_and_older_ones_are_dropped() -> None:
    store, metric = MetricStore(), Metric.of("N", "m", {})
    for minute in range(5 * 24 * 60):
        store.put(metric, 1.0, 60.0 * minute)
    kept = len(store.between(metric, 0, math.inf))
    assert 24 * 60 < kept < 3 * 24 * 60


def test_a_late_sample_counts_in_its_own_period() -> None:
    store, metric = MetricStore(), Metric.of("N", "m", {})
    store.put(metric, 1.0, 60.0)
    store.put(metric, 2.0, 0.0)
    assert (store.between(metric, 0.0, 60.0), store.between(metric, 60.0, 120.0)) == ([2.0], [1.0])


@pytest.mark.parametrize(
    ("statistic", "value"), [("Average", 2.0), ("Sum", 6.0), ("Minimum", 1.0), ("Maximum", 3.0), ("SampleCount", 3.0)]
)
def test_statistic_covers_the_period_before_its_end(statistic: str, value: float) -> None:
    store, metric = MetricStore(), Metric.of("N", "m", {})
    for at, sample in ((0.0, 99.0), (60.0, 1.0), (70.0, 2.0), (119.0, 3.0), (120.0, 99.0)):
        store.put(metric, sample, at)
    assert MetricSeries(metric, statistic, 60).datapoint(store, 120.0) == value


def test_unknown_statistic_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"statistic must be one of .*, got p99"):
        MetricSeries(Metric.of("N", "m", {}), "p99", 60)


def test_datapoints_are_oldest_first_with_gaps(backlog: MetricSeries, filled: Filled) -> None:
    assert datapoints(backlog, filled(backlog, [1, None, 3]), 180.0, 4) == [None, 1.0, None, 3.0]


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("a + b * 2", {"a": 1.0, "b": 3.0}, 7.0),
        ("a / b", {"a": 1.0, "b": 0.0}, None),
        ("a - b", {"a": 1.0}, None),
        ("FILL(a, 5) >= 5", {}, 1.0),
        ("IF(FILL(i, 0) > 0 AND FILL(b, 0) == 0, 1, 0)", {"i": 2.0}, 1.0),
        ("IF(FILL(i, 0) > 0 AND FILL(b, 0) == 0, 1, 0)", {"i": 2.0, "b": 1.0}, 0.0),
        ("IF(a < 1 || a > 3, 1, 0)", {"a": 4.0}, 1.0),
        ("IF(a > 0, 1, 0)", {}, None),
        ("DAY(a)*10000 + HOUR(a)*100 + MINUTE(a)", {}, 22145.0),
        ("HOUR(a) + a", {}, None),
    ],
)
def test_metric_math_result(text: str, values: dict[str, float | None], result: float | None) -> None:
    tuesday_night = datetime(2026, 1, 7, 3, 45, tzinfo=timezone(timedelta(hours=6)))  # Tuesday, 21:45 UTC
    assert Expression(text).value(values, tuesday_night) == result


@pytest.mark.parametrize("text", ["__import__('os')", "a.b", "RATE(a)", "a ** 2", "1 < a < 3", "a b", "'x'", "[a]"])
def test_unsupported_expressions_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="metric math"):
        Expression(text)


def test_expression_length_is_limited() -> None:
    with pytest.raises(ValueError, match="at most 1024 characters, got 2001"):
        Expression("1+" * 1000 + "1")


def test_math_series_reads_each_input(backlog: MetricSeries, filled: Filled) -> None:
    series = MathSeries(Expression("b * 10"), {"b": backlog}, 60)
    assert datapoints(series, filled(backlog, [1, 2]), 120.0, 2) == [10.0, 20.0]


def test_math_series_knows_the_time_at_which_a_datapoint_begins(backlog: MetricSeries) -> None:
    series = MathSeries(Expression("DAY(b) * 100 + MINUTE(b)"), {"b": backlog}, 60)
    assert datapoints(series, MetricStore(datetime(2026, 1, 4, 23, 58, tzinfo=UTC)), 180.0, 3) == [758.0, 759.0, 100.0]


def alarm_on(series: MetricSeries, periods: int) -> Alarm:
    return Alarm(
        "a", series, "GreaterThanThreshold", 4.0, periods, periods, actions={"ALARM": ("do",), "OK": ("undo",)}
    )


def test_alarm_starts_with_insufficient_data_and_follows_its_metric(backlog: MetricSeries, filled: Filled) -> None:
    store, alarm = filled(backlog, [5, 5, 5, 1]), AlarmEvaluator(alarm_on(backlog, 3))
    assert (alarm.state, alarm.actions) == ("INSUFFICIENT_DATA", ())
    states: list[str] = []
    for minute in range(1, 5):
        alarm.evaluate(store, 60.0 * minute)
        states.append(alarm.state)
    assert states == ["INSUFFICIENT_DATA", "INSUFFICIENT_DATA", "ALARM", "OK"]


def test_alarm_reports_a_change_once_but_repeats_its_actions(backlog: MetricSeries, filled: Filled) -> None:
    store, alarm = filled(backlog, [5, 5, 5]), AlarmEvaluator(alarm_on(backlog, 1))
    assert [alarm.evaluate(store, 60.0 * minute) for minute in (1, 2, 3)] == [True, False, False]
    assert alarm.actions == ("do",)


@pytest.mark.parametrize(
    ("comparison", "breaching"),
    [
        ("GreaterThanOrEqualToThreshold", [4, 5]),
        ("GreaterThanThreshold", [5]),
        ("LessThanThreshold", [3]),
        ("LessThanOrEqualToThreshold", [3, 4]),
    ],
)
def test_comparison_operators(backlog: MetricSeries, comparison: str, breaching: list[int]) -> None:
    alarm = Alarm("a", backlog, comparison, 4.0, 1, 1)
    assert [value for value in (3, 4, 5) if alarm.breaches(value)] == breaching


@pytest.mark.parametrize("needed", [0, 4])
def test_datapoints_to_alarm_are_within_the_evaluation_periods(backlog: MetricSeries, needed: int) -> None:
    with pytest.raises(ValueError, match=r"DatapointsToAlarm must be 1 to EvaluationPeriods \(3\)"):
        Alarm("a", backlog, "GreaterThanThreshold", 4.0, 3, needed)
