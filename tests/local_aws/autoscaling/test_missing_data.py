"""The tables of alarm states in CloudWatch's documentation of missing data."""

import pytest

from conformance.behaviour import documented
from local_aws.autoscaling.rules.alarms import Alarm, AlarmState, TreatMissingData, next_state
from local_aws.autoscaling.rules.metrics import Metric, MetricSeries

TREATMENTS: list[TreatMissingData] = ["missing", "ignore", "breaching", "notBreaching"]

# 0 is not breaching, X is breaching, - is missing; oldest first, five datapoints for three evaluation periods.
THREE_OF_THREE = {
    "0-X-X": ("OK", "OK", "OK", "OK"),
    "----0": ("OK", "OK", "OK", "OK"),
    "-----": ("INSUFFICIENT_DATA", "retain", "ALARM", "OK"),
    "0XX-X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "--X--": ("ALARM", "retain", "ALARM", "OK"),
    # From earlier editions of the page, with other rows for the same rules:
    "0----": ("OK", "OK", "OK", "OK"),
    "----X": ("INSUFFICIENT_DATA", "retain", "ALARM", "OK"),
    "X----": ("ALARM", "retain", "ALARM", "OK"),
}
TWO_OF_THREE = {
    "0-X-X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "00X0X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "0-X--": ("OK", "OK", "ALARM", "OK"),
    "----0": ("OK", "OK", "ALARM", "OK"),
    "---X-": ("ALARM", "retain", "ALARM", "OK"),
    "----X": ("INSUFFICIENT_DATA", "retain", "ALARM", "OK"),
}


def state_after(row: str, needed: int, treatment: TreatMissingData, before: AlarmState) -> AlarmState:
    series = MetricSeries(Metric.of("N", "m", {}), "Average", 60)
    alarm = Alarm("a", series, "GreaterThanThreshold", 0.0, 3, needed, treatment)
    return next_state(alarm, [{"0": False, "X": True, "-": None}[point] for point in row], before)


@pytest.mark.parametrize("before", ["OK", "ALARM", "INSUFFICIENT_DATA"])
@documented("https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html")
@pytest.mark.parametrize(("needed", "table"), [(3, THREE_OF_THREE), (2, TWO_OF_THREE)])
def test_states_match_the_documentation(needed: int, table: dict[str, tuple[str, ...]], before: AlarmState) -> None:
    """AWS's two tables of the states after each pattern of breaching, other and missing data points."""
    for row, states in table.items():
        expected = [before if state == "retain" else state for state in states]
        assert [state_after(row, needed, treatment, before) for treatment in TREATMENTS] == expected, row


@pytest.mark.parametrize("row", ["----X", "---X-"])
def test_single_recent_breach_is_not_yet_an_alarm(row: str) -> None:
    assert state_after(row, 3, "missing", "OK") == "INSUFFICIENT_DATA"


def test_enough_breaches_are_an_alarm_despite_missing_points() -> None:
    assert state_after("---XX", 2, "missing", "OK") == "ALARM"


def test_only_the_latest_evaluation_periods_count() -> None:
    assert state_after("XX000", 2, "missing", "ALARM") == "OK"
