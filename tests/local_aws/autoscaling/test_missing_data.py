"""CloudWatch's own tables of alarm states, from its page on missing data."""

import pytest

from local_aws.autoscaling.missing_data import State, Treatment, judge

TREATMENTS: list[Treatment] = ["missing", "ignore", "breaching", "notBreaching"]

# 0 is a good datapoint, X a breaching one, - a missing one; oldest first, five for three evaluation periods.
THREE_OF_THREE = {
    "0-X-X": ("OK", "OK", "OK", "OK"),
    "----0": ("OK", "OK", "OK", "OK"),
    "-----": ("INSUFFICIENT_DATA", "retain", "ALARM", "OK"),
    "0XX-X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "--X--": ("ALARM", "retain", "ALARM", "OK"),
    # From earlier editions of the page, which showed other rows by the same rules:
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


def points(row: str) -> list[bool | None]:
    return [{"0": False, "X": True, "-": None}[point] for point in row]


@pytest.mark.parametrize("before", ["OK", "ALARM", "INSUFFICIENT_DATA"])
@pytest.mark.parametrize(("needed", "table"), [(3, THREE_OF_THREE), (2, TWO_OF_THREE)])
def test_states_are_those_of_the_documentation(needed: int, table: dict[str, tuple[str, ...]], before: State) -> None:
    for row, states in table.items():
        expected = [before if state == "retain" else state for state in states]
        assert [judge(points(row), 3, needed, treatment, before) for treatment in TREATMENTS] == expected, row


@pytest.mark.parametrize("row", ["----X", "---X-"])
def test_a_young_breach_alone_is_no_alarm_yet(row: str) -> None:
    assert judge(points(row), 3, 3, "missing", "OK") == "INSUFFICIENT_DATA"


def test_enough_breaches_are_an_alarm_though_points_are_missing() -> None:
    assert judge(points("---XX"), 3, 2, "missing", "OK") == "ALARM"


def test_only_the_latest_evaluation_periods_count() -> None:
    assert judge(points("XX000"), 3, 2, "missing", "ALARM") == "OK"
