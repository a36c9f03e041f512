"""CloudWatch Logs as this stack uses it: retention, batches of events, and filtering them."""

import time
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code

API = "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference"
RETENTION, PUT, FILTER = (
    f"{API}/API_{name}.html" for name in ("PutRetentionPolicy", "PutLogEvents", "FilterLogEvents")
)
DAY = 24 * 3600 * 1000


@pytest.fixture(scope="module")
def logs(workspace: Workspace) -> Any:
    """An administrator's client."""
    return workspace.client("logs")


@pytest.fixture
def group(workspace: Workspace, logs: Any) -> str:
    """A log group with the streams a and b."""
    name = workspace.name("logs")
    logs.create_log_group(logGroupName=name)
    workspace.later(f"log group {name}", lambda: logs.delete_log_group(logGroupName=name))
    for stream in ("a", "b"):
        logs.create_log_stream(logGroupName=name, logStreamName=stream)
    return name


def events(*messages: tuple[int, str]) -> list[dict[str, Any]]:
    """Return events with these ages in milliseconds."""
    now = int(time.time() * 1000)
    return [{"timestamp": now - age, "message": message} for age, message in messages]


@documented(RETENTION)
@pytest.mark.parametrize(("days", "accepted"), [(1, True), (14, True), (3653, True), (2, False), (0, False)])
def test_retention_has_certain_values(logs: Any, group: str, days: int, accepted: bool) -> None:
    """Possible values of retentionInDays are 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, ... and 3653."""
    if accepted:
        logs.put_retention_policy(logGroupName=group, retentionInDays=days)
        [found] = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        assert found["retentionInDays"] == days
    else:
        put = logs.put_retention_policy
        assert error_code(lambda: put(logGroupName=group, retentionInDays=days))[0] == "InvalidParameterException"


@documented(PUT)
def test_an_absent_stream_is_not_found(logs: Any, group: str) -> None:
    """ResourceNotFoundException: the specified resource does not exist."""
    put = {"logGroupName": group, "logStreamName": "absent", "logEvents": events((0, "m"))}
    assert error_code(lambda: logs.put_log_events(**put))[0] == "ResourceNotFoundException"


@documented(PUT)
@pytest.mark.parametrize("ages", [(0, 1000), (DAY + 60_000, 0)])
def test_a_batch_is_in_order_and_of_one_day(logs: Any, group: str, ages: tuple[int, int]) -> None:
    """A batch must be in chronological order and cannot span more than 24 hours: otherwise, the operation fails."""
    put = {"logGroupName": group, "logStreamName": "a", "logEvents": events(*((age, "m") for age in ages))}
    assert error_code(lambda: logs.put_log_events(**put))[0] == "InvalidParameterException"


@documented(PUT)
def test_events_of_15_days_ago_are_rejected(logs: Any, group: str) -> None:
    """Events older than 14 days are rejected while processing remaining valid events."""
    put = {"logGroupName": group, "logStreamName": "a", "logEvents": events((15 * DAY, "old"))}
    assert logs.put_log_events(**put)["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"] >= 0


@documented(FILTER, minutes=1)
def test_filtered_events_are_in_order_of_time(workspace: Workspace, logs: Any, group: str) -> None:
    """By default, the events of all streams are returned in ascending timestamp order."""
    for stream, batch in (("a", ((3000, "first"), (1000, "third"))), ("b", ((2000, "second"),))):
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events(*batch))
    wanted = ["first", "second", "third"]

    def found() -> bool:
        return [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]] == wanted

    workspace.wait(found, "three events in order", 10)
