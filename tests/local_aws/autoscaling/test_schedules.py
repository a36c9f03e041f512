"""Scheduled actions: when they are due, and how they change an endpoint."""

import copy
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conformance.behaviour import documented
from local_aws.autoscaling.rules.metrics import MONDAY
from local_aws.autoscaling.rules.scheduled_actions import ScheduledAction
from local_aws.autoscaling.rules.template import Template, read_endpoint, read_scaling
from local_aws.autoscaling.simulator.simulated_endpoint import Assumptions
from local_aws.autoscaling.simulator.simulation import Arrival, SimulationResult, simulate
from local_aws.autoscaling.template_checks import failures

HOUR = 3600.0


def action(schedule: str, timezone: str = "UTC") -> ScheduledAction:
    return ScheduledAction("a", schedule, timezone, 1, None)


def due_minutes(schedule: str, start: datetime, minutes: int, timezone: str = "UTC") -> list[str]:
    wanted = action(schedule, timezone)
    moments = [start + timedelta(minutes=minute) for minute in range(minutes)]
    return [moment.strftime("%a %H:%M") for moment in moments if wanted.due(moment)]


@documented(
    "https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html"
)
@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("cron(45 8 ? * MON-WED *)", ["Mon 08:45", "Tue 08:45", "Wed 08:45"]),
        ("cron(0 12 ? * 1,7 *)", ["Sat 12:00", "Sun 12:00"]),
        ("cron(0/30 6 6 1 ? 2026)", ["Tue 06:00", "Tue 06:30"]),
        ("cron(0 0 1 FEB ? *)", []),
        ("at(2026-01-07T03:04:05)", ["Wed 03:04"]),
    ],
)
def test_due_minutes_of_a_week(schedule: str, due: list[str]) -> None:
    """Cron expressions have six fields, with ranges, lists, steps and names; days of the week begin on Sunday."""
    assert due_minutes(schedule, MONDAY, 7 * 24 * 60) == due


@documented("https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-overview.html")
def test_schedule_follows_its_time_zone_and_summer_time() -> None:
    """A recurring action in a time zone with daylight saving time adjusts to it."""
    winter, summer = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 7, 6, tzinfo=UTC)
    at_nine = "cron(0 9 ? * MON *)"
    assert due_minutes(at_nine, winter, 24 * 60, "Europe/Berlin") == ["Mon 08:00"]
    assert due_minutes(at_nine, summer, 24 * 60, "Europe/Berlin") == ["Mon 07:00"]


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "rate(1 hour)",
        "cron(0 9 * * *)",
        "cron(60 9 ? * * *)",
        "cron(0 9 L * ? *)",
        "cron(0 9 ? * 6#3 *)",
        "cron(0 9 ? * FRI-MON *)",
        "cron(0/0 9 ? * * *)",
    ],
)
def test_unsupported_schedules_are_rejected(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"cron\(\)"):
        action(schedule)


def test_unknown_time_zone_is_rejected() -> None:
    with pytest.raises(ValueError, match="Timezone must be a name such as Europe/Berlin, got 'Mars'"):
        action("cron(0 9 ? * * *)", "Mars")


@pytest.fixture
def warm_template(synthesised: dict[str, Any]) -> dict[str, Any]:
    """The template with an instance kept ready on Mondays from 8:00 to 10:00 UTC."""
    template = copy.deepcopy(synthesised["one"])
    (target,) = (item for item in template["Resources"].values() if item["Type"].endswith("ScalableTarget"))
    target["Properties"]["ScheduledActions"] = [
        {
            "ScheduledActionName": name,
            "Schedule": f"cron(0 {hour} ? * MON *)",
            "ScalableTargetAction": {"MinCapacity": least, "MaxCapacity": 1},
        }
        for name, hour, least in (("WarmUp", 8, 1), ("WarmUpEnd", 10, 0))
    ]
    return template


def run(template: dict[str, Any], arrivals: list[Arrival]) -> SimulationResult:
    declared = Template(template)
    scaling, concurrency = read_scaling(declared), read_endpoint(declared).concurrency
    return simulate(scaling, arrivals, Assumptions(startup=300.0), concurrency=concurrency, instances=0)


@documented("https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScheduledAction.html")
def test_scheduled_instance_starts_in_time_and_ends_afterwards(warm_template: dict[str, Any]) -> None:
    """At the scheduled time, a capacity below the minimum scales out to the minimum."""
    result = run(warm_template, [Arrival(9 * HOUR, 60.0), Arrival(12 * HOUR, 60.0)])
    decisions = {minute.at / 60: minute.decision.reason for minute in result.minutes if minute.decision}
    assert decisions[8 * 60] == "new bounds: 0 -> 1"
    assert decisions[10 * 60] == "FollowBacklog: 1 -> 0"
    ready, woken = (request.time_to_result for request in result.requests)
    assert ready == 60.0
    assert woken > 360.0
    assert result.at_zero


@documented("https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScheduledAction.html")
def test_maximum_capacity_of_a_schedule_is_enforced_too(warm_template: dict[str, Any]) -> None:
    """At the scheduled time, a capacity above the maximum scales in to the maximum."""
    scaling = dataclasses.replace(
        read_scaling(Template(warm_template)),
        scheduled_actions=(ScheduledAction("close", "at(2026-01-05T00:05:00)", "UTC", None, 0),),
    )
    result = simulate(scaling, [], Assumptions(startup=300.0), concurrency=1, instances=1)
    assert [minute.at for minute in result.minutes if minute.decision] == [300.0]
    assert result.at_zero


def test_template_checks_ignore_scheduled_actions(warm_template: dict[str, Any]) -> None:
    assert failures(warm_template) == {}
