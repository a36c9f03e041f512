"""The alarms: metric, dimensions, delay and topic."""

import pytest

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
    assert len(alarms) == 6
    for alarm in alarms:
        (action,) = alarm["AlarmActions"]
        assert action["Ref"].startswith("NotificationsAlarmTopic")
        assert alarm["OKActions"] == alarm["AlarmActions"]
