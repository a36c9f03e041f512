"""The alarms: metric, dimensions, delay and topic."""

import io
import json

import pytest

from musicgen_serving.json_log import JsonLog
from tests.infra.templates import Find, OfType

ENDPOINT = [{"Name": "EndpointName", "Value": "musicgen-dev"}]
VARIANT = [*ENDPOINT, {"Name": "VariantName", "Value": "AllTraffic"}]


@pytest.mark.parametrize(
    ("alarm_id", "metric", "dimensions", "statistic", "minutes", "threshold"),
    [
        ("QueueAge", "ApproximateAgeOfOldestRequest", ENDPOINT, "Maximum", 5, 3600),
        ("InvocationFailures", "InvocationFailures", VARIANT, "Sum", 5, 1),
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
    assert expression["Expression"] == "IF(FILL(instances, 0) > 0 AND FILL(backlog, 0) == 0, 1, 0)"
    metrics = {source["Id"]: (source["MetricStat"]["Metric"], source["MetricStat"]["Stat"]) for source in sources}
    instances, samples = metrics["instances"]
    assert (instances["Namespace"], instances["MetricName"]) == ("/aws/sagemaker/Endpoints", "CPUUtilization")
    assert (instances["Dimensions"], samples) == (VARIANT, "SampleCount")
    backlog, _ = metrics["backlog"]
    assert (backlog["MetricName"], backlog["Dimensions"]) == ("ApproximateBacklogSize", ENDPOINT)
    assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (30, 30)


def test_alarms_notify_the_alarm_topic_when_they_go_off_and_when_they_are_over(of_type: OfType) -> None:
    alarms = [alarm for alarm in of_type("AWS::CloudWatch::Alarm") if "OKActions" in alarm]
    assert len(alarms) == 7
    for alarm in alarms:
        (action,) = alarm["AlarmActions"]
        assert action["Ref"].startswith("NotificationsAlarmTopic")
        assert alarm["OKActions"] == alarm["AlarmActions"]
