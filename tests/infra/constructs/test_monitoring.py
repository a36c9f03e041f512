"""The alarms: metric, dimensions, delay and topic."""

import io
import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from infra.config.schedules import weekly_windows
from local_aws.autoscaling.rules.alarms import AlarmEvaluator
from local_aws.autoscaling.rules.metrics import MathSeries, MetricStore
from local_aws.autoscaling.rules.scaling_config import parse_alarm
from musicgen_serving.json_log import JsonLog
from tests.infra.templates import SCHEDULE, Find, OfType, Synthesise, properties

ENDPOINT = [{"Name": "EndpointName", "Value": "musicgen-dev"}]
VARIANT = [*ENDPOINT, {"Name": "VariantName", "Value": "AllTraffic"}]


@pytest.mark.parametrize(
    ("alarm_id", "metric", "dimensions", "statistic", "minutes", "threshold"),
    [
        ("QueueAge", "ApproximateAgeOfOldestRequest", ENDPOINT, "Maximum", 5, 3600),
        ("ExpiredRequests", "ExpiredRequests", VARIANT, "Sum", 5, 1),
        ("NotificationFailures", "NotificationFailures", VARIANT, "Sum", 5, 1),
        ("WakeFailed", "HasBacklogWithoutCapacity", ENDPOINT, "Minimum", 20, 1),
    ],
)
def test_alarm_reads_the_metric_with_the_dimensions_that_sagemaker_publishes(
    only: Find,
    alarm_id: str,
    metric: str,
    dimensions: list[dict[str, str]],
    statistic: str,
    minutes: int,
    threshold: int,
) -> None:
    alarm = only("AWS::CloudWatch::Alarm", f"Monitoring{alarm_id}")
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Dimensions"]) == ("AWS/SageMaker", metric, dimensions)
    assert (alarm["Statistic"], alarm["Threshold"]) == (statistic, threshold)
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 60 * minutes
    assert alarm["DatapointsToAlarm"] == alarm["EvaluationPeriods"]
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert alarm["TreatMissingData"] == "notBreaching"


def test_slow_path_alarm_reads_the_metric_that_the_container_logs(only: Find, of_type: OfType) -> None:
    alarm = only("AWS::CloudWatch::Alarm", "MonitoringSlowPath")
    (model,) = of_type("AWS::SageMaker::Model")
    container = model["PrimaryContainer"]
    stream = io.StringIO()
    JsonLog(stream, "memory").metric("path", "SlowPath", 1, container["Environment"]["MUSICGEN_ENDPOINT"])
    line = json.loads(stream.getvalue())
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (alarm["Namespace"], alarm["MetricName"]) == (directive["Namespace"], directive["Metrics"][0]["Name"])
    dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
    assert directive["Dimensions"] == [[*dimensions]] and dimensions == {"EndpointName": line["EndpointName"]}
    assert (alarm["Statistic"], alarm["Threshold"], alarm["TreatMissingData"]) == ("Maximum", 1, "notBreaching")
    assert line["SlowPath"] == 1 and line["_aws"]["Timestamp"] > 1.7e12


def test_idle_alarm_needs_half_an_hour_with_an_instance_and_no_request(only: Find) -> None:
    alarm = only("AWS::CloudWatch::Alarm", "MonitoringIdleInstance")
    expression, *sources = alarm["Metrics"]
    assert expression["Expression"] == "IF(FILL(up, 0) > 0 AND FILL(backlog, 0) == 0, 1, 0)"
    metrics = {source["Id"]: (source["MetricStat"]["Metric"], source["MetricStat"]["Stat"]) for source in sources}
    instances, samples = metrics["up"]
    assert (instances["Namespace"], instances["MetricName"]) == ("/aws/sagemaker/Endpoints", "CPUUtilization")
    assert (instances["Dimensions"], samples) == (VARIANT, "SampleCount")
    backlog, _ = metrics["backlog"]
    assert (backlog["MetricName"], backlog["Dimensions"]) == ("ApproximateBacklogSize", ENDPOINT)
    assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (30, 30)


def test_a_budget_of_instance_hours_is_an_option(synthesise: Synthesise, of_type: OfType) -> None:
    assert not [alarm for alarm in of_type("AWS::CloudWatch::Alarm") if "hour" in json.dumps(alarm)]
    alarm = properties(synthesise(alarm_instance_hours=3), "AWS::CloudWatch::Alarm", "MonitoringInstanceHours")
    two_then_four = [2.0] * 60 + [0.0] * 120 + [1.0] * 60  # instances in each minute: two hours, then one more
    found = states(alarm, {"minutes": two_then_four}, datetime(2026, 1, 8, tzinfo=UTC))
    assert set(found[:-1]) == {"OK"} and found[-1] == "ALARM"
    assert alarm["AlarmActions"] == alarm["OKActions"]


def test_alarms_notify_the_alarm_topic_when_they_go_off_and_when_they_are_over(of_type: OfType) -> None:
    alarms = [alarm for alarm in of_type("AWS::CloudWatch::Alarm") if "OKActions" in alarm]
    assert len(alarms) == 7
    for alarm in alarms:
        (action,) = alarm["AlarmActions"]
        assert action["Ref"].startswith("NotificationsAlarmTopic")
        assert alarm["OKActions"] == alarm["AlarmActions"]


def states(alarm: dict[str, Any], samples: dict[str, list[float]], start: datetime) -> list[str]:
    """Return the alarm's state each minute, for one sample of each metric a minute from `start`."""
    evaluated = AlarmEvaluator(parse_alarm({**alarm, "AlarmName": "a", "AlarmActions": [], "OKActions": []}))
    series, store = evaluated.definition.series, MetricStore(start)
    assert isinstance(series, MathSeries) and series.inputs.keys() == samples.keys()
    found: list[str] = []
    for minute in range(len(next(iter(samples.values())))):
        for name, values in samples.items():
            for _ in range(int(values[minute]) if series.inputs[name].statistic == "SampleCount" else 1):
                store.put(series.inputs[name].metric, values[minute], 60.0 * minute)
        evaluated.evaluate(store, 60.0 * (minute + 1))
        found.append(evaluated.state)
    return found


def test_refused_and_cancelled_requests_raise_no_alarm(only: Find) -> None:
    alarm, monday = only("AWS::CloudWatch::Alarm", "MonitoringInvocationFailures"), datetime(2026, 1, 5, tzinfo=UTC)
    refused = {"failed": [0.0, 3.0, 1.0, 0.0], "refused": [0.0, 3.0, 1.0, 0.0]}
    assert set(states(alarm, refused, monday)) == {"OK"}
    one_died = {"failed": [0.0, 3.0, 1.0, 0.0], "refused": [0.0, 2.0, 1.0, 0.0]}
    assert states(alarm, one_died, monday) == ["OK", "ALARM", "ALARM", "ALARM"]
    assert (alarm["Threshold"], alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, 1, "notBreaching")


@pytest.mark.parametrize(("month", "end_utc"), [(1, 17), (7, 16)])  # 18:00 in Berlin
def test_with_one_instance_and_a_warm_up_the_idle_alarm_fires_after_its_end(
    synthesise: Synthesise, month: int, end_utc: int
) -> None:
    alarm = properties(synthesise(**SCHEDULE), "AWS::CloudWatch::Alarm", "MonitoringIdleInstance")
    # A Thursday's 15:00 UTC, after seven hours of being ready.
    found = states(
        alarm, {"up": [1.0] * 240, "backlog": [0.0] * 240}, datetime(2026, month, 8 if month == 1 else 9, 15)
    )
    end = (17 - 15) * 60  # the later of the two offsets counts
    assert set(found[: end + 29]) == {"OK"} and set(found[end + 29 :]) == {"ALARM"}
    assert end >= (end_utc - 15) * 60


def test_during_a_warm_up_a_second_idle_instance_raises_the_alarm(synthesise: Synthesise) -> None:
    alarm = properties(synthesise(**SCHEDULE), "AWS::CloudWatch::Alarm", "MonitoringIdleInstance")
    found = states(alarm, {"up": [2.0] * 40, "backlog": [0.0] * 40}, datetime(2026, 1, 8, 10, tzinfo=UTC))
    assert found[28:30] == ["OK", "ALARM"]


def daily(days: int, start: int, end: int) -> list[tuple[int, int]]:
    """Return a window of minutes on each of the first days of the week."""
    return [(day * 1440 + start, day * 1440 + end) for day in range(days)]


@pytest.mark.parametrize(
    ("start", "end", "zone", "windows"),
    [
        ("cron(45 8 ? * MON-FRI *)", "cron(0 18 ? * MON-FRI *)", "UTC", daily(5, 525, 1080)),
        ("cron(0 22 ? * 1 *)", "cron(0 4 ? * 2 *)", "UTC", [(0, 240), (9960, 10080)]),  # Sunday to Monday
        ("cron(0 8 ? * MON *)", "cron(0 18 ? * FRI *)", "America/New_York", [(720, 7140)]),  # UTC-5; UTC-4 in summer
        ("cron(0 6 * * ? *)", "cron(0/60 20-21 * * ? *)", "Asia/Kolkata", daily(7, 30, 870)),
        ("cron(0 6 1 * ? *)", "cron(0 20 1 * ? *)", "UTC", None),
        ("cron(0 6 ? * 2#1 *)", "cron(0 20 ? * 2#1 *)", "UTC", None),
        ("cron(0 6,12 * * ? *)", "cron(0 8,14 * * ? *)", "UTC", None),  # fourteen windows
    ],
)  # fmt: skip
def test_windows_of_a_warm_up(start: str, end: str, zone: str, windows: list[tuple[int, int]] | None) -> None:
    found = weekly_windows(start, end, zone)
    assert found == windows
    assert found is None or all(before[1] < after[0] for before, after in pairwise(found))


def test_a_schedule_that_is_not_weekly_lets_the_idle_alarm_ignore_one_instance(synthesise: Synthesise) -> None:
    monthly = {"warm_up_schedule": "cron(0 6 1 * ? *)", "warm_up_end_schedule": "cron(0 20 1 * ? *)"}
    alarm = properties(synthesise(**monthly), "AWS::CloudWatch::Alarm", "MonitoringIdleInstance")
    (expression,) = (metric["Expression"] for metric in alarm["Metrics"] if "Expression" in metric)
    assert expression == "IF(FILL(up, 0) > 1 AND FILL(backlog, 0) == 0, 1, 0)"
    one_idle = {"up": [1.0] * 40, "backlog": [0.0] * 40}
    assert set(states(alarm, one_idle, datetime(2026, 1, 8, tzinfo=UTC))) == {"OK"}


def test_the_longest_idle_expression_is_within_cloudwatchs_limit(synthesise: Synthesise) -> None:
    daily = {"warm_up_schedule": "cron(0 6 * * ? *)", "warm_up_end_schedule": "cron(0 20 * * ? *)"}
    alarm = properties(synthesise(**daily), "AWS::CloudWatch::Alarm", "MonitoringIdleInstance")
    (expression,) = (metric["Expression"] for metric in alarm["Metrics"] if "Expression" in metric)
    assert expression.count("DAY(up)") == 14 and len(expression) <= 1024
