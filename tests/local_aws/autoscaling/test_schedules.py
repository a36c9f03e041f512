"""Scheduled actions: when they are due, and what they do to an endpoint."""

import copy
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_aws.autoscaling.checks import failures
from local_aws.autoscaling.controller import MONDAY
from local_aws.autoscaling.deployed import read_endpoint, read_scaling
from local_aws.autoscaling.schedules import ScheduledAction
from local_aws.autoscaling.simulator.endpoint import Assumptions
from local_aws.autoscaling.simulator.run import Outcome, Work, simulate
from local_aws.autoscaling.template import Template

HOUR = 3600.0


def action(schedule: str, timezone: str = "UTC") -> ScheduledAction:
    return ScheduledAction("a", schedule, timezone, 1, None)


def due_minutes(schedule: str, start: datetime, minutes: int, timezone: str = "UTC") -> list[str]:
    wanted = action(schedule, timezone)
    moments = [start + timedelta(minutes=minute) for minute in range(minutes)]
    return [moment.strftime("%a %H:%M") for moment in moments if wanted.due(moment)]


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
    assert due_minutes(schedule, MONDAY, 7 * 24 * 60) == due


def test_schedule_keeps_its_time_zone_and_summer_time() -> None:
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
def test_other_schedules_are_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"cron\(\)"):
        action(schedule)


def test_unknown_time_zone_is_refused() -> None:
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


def run(template: dict[str, Any], work: list[Work]) -> Outcome:
    declared = Template(template)
    scaling, concurrency = read_scaling(declared), read_endpoint(declared).concurrency
    return simulate(scaling, work, Assumptions(startup=300.0), concurrency=concurrency, instances=0)


def test_scheduled_instance_is_up_in_time_and_goes_afterwards(warm_template: dict[str, Any]) -> None:
    outcome = run(warm_template, [Work(9 * HOUR, 60.0), Work(12 * HOUR, 60.0)])
    decisions = {minute.at / 60: minute.decision.reason for minute in outcome.minutes if minute.decision}
    assert decisions[8 * 60] == "scheduled bounds: 0 -> 1"
    assert decisions[10 * 60] == "FollowBacklog: 1 -> 0"
    ready, woken = (request.time_to_result for request in outcome.requests)
    assert ready == 60.0
    assert woken > 360.0
    assert outcome.at_zero


def test_most_instances_of_a_schedule_are_enforced_too(warm_template: dict[str, Any]) -> None:
    scaling = dataclasses.replace(
        read_scaling(Template(warm_template)),
        scheduled=(ScheduledAction("close", "at(2026-01-05T00:05:00)", "UTC", None, 0),),
    )
    outcome = simulate(scaling, [], Assumptions(startup=300.0), concurrency=1, instances=1)
    assert [minute.at for minute in outcome.minutes if minute.decision] == [300.0]
    assert outcome.at_zero


def test_checks_look_at_what_the_policies_do_by_themselves(warm_template: dict[str, Any]) -> None:
    assert failures(warm_template) == {}
