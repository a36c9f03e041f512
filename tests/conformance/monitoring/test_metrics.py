"""CloudWatch metrics: what PutMetricData accepts, and what GetMetricStatistics returns."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code

API = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference"
PUT = f"{API}/API_PutMetricData.html"
GET = f"{API}/API_GetMetricStatistics.html"
CONCEPTS = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html"
INVALID = ("InvalidParameterValue", "InvalidParameterValueException", "InvalidParameterCombination", "ValidationError")


class Metrics:
    """Publish and read samples in a namespace of one's own."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.client = workspace, workspace.client("cloudwatch")
        self.namespace = workspace.name("metrics")

    def put(self, *data: dict[str, Any]) -> Any:
        return self.client.put_metric_data(Namespace=self.namespace, MetricData=list(data))

    def refused(self, *data: dict[str, Any]) -> bool:
        return error_code(lambda: self.put(*data))[0] in INVALID

    def read(self, name: str, start: datetime, end: datetime, period: int = 60, **more: Any) -> list[dict[str, Any]]:
        more = {"Statistics": ["Sum", "SampleCount"], **more}
        answer = self.client.get_metric_statistics(
            Namespace=self.namespace, MetricName=name, StartTime=start, EndTime=end, Period=period, **more
        )
        return answer["Datapoints"]

    def read_soon(self, *arguments: Any, **more: Any) -> list[dict[str, Any]]:
        """Wait until there is a datapoint: in an account, that takes minutes."""
        return self.workspace.wait(lambda: self.read(*arguments, **more), "a datapoint", 5)


@pytest.fixture
def metrics(workspace: Workspace) -> Metrics:
    """A namespace of the test's own."""
    return Metrics(workspace)


def this_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


@documented(GET)
def test_datapoints_are_aligned_to_the_period(metrics: Metrics) -> None:
    """CloudWatch aggregates data points by period: each datapoint carries the start of its period."""
    start = this_minute() - timedelta(minutes=10)
    for seconds in (17, 42, 75):
        metrics.put({"MetricName": "m", "Value": 1.0, "Timestamp": start + timedelta(seconds=seconds)})
    points = metrics.read_soon("m", start, start + timedelta(minutes=5))
    found = sorted((point["Timestamp"], point["SampleCount"]) for point in points)
    assert found == [(start, 2.0), (start + timedelta(minutes=1), 1.0)]


@documented(GET)
def test_more_than_1440_datapoints_are_refused(metrics: Metrics) -> None:
    """The maximum number of data points returned from a single call is 1,440; more are an error."""
    now = this_minute()
    assert metrics.read("m", now - timedelta(minutes=1440), now) == []
    assert error_code(lambda: metrics.read("m", now - timedelta(minutes=1441), now))[0] in INVALID


@documented(GET)
@pytest.mark.parametrize("period", [45, 90])
def test_a_period_is_a_multiple_of_a_minute(metrics: Metrics, period: int) -> None:
    """Periods are 1, 5, 10, 20, 30, or a multiple of 60 seconds."""
    now = this_minute()
    assert error_code(lambda: metrics.read("m", now - timedelta(hours=1), now, period))[0] in INVALID


@documented(CONCEPTS)
def test_dimensions_must_match_exactly(metrics: Metrics) -> None:
    """Each unique combination of dimensions is a separate metric: statistics need the same combination."""
    one, other = {"Name": "a", "Value": "1"}, {"Name": "b", "Value": "2"}
    metrics.put({"MetricName": "m", "Value": 1.0, "Dimensions": [one, other]})
    start, end = this_minute() - timedelta(minutes=5), this_minute() + timedelta(minutes=5)
    assert metrics.read_soon("m", start, end, Dimensions=[other, one])
    assert metrics.read("m", start, end, Dimensions=[one]) == []
    assert metrics.read("m", start, end) == []


@documented(GET)
def test_units_are_not_converted(metrics: Metrics) -> None:
    """With a unit, only data that was collected with that unit is returned; CloudWatch does not convert units."""
    metrics.put({"MetricName": "m", "Value": 1.0, "Unit": "Seconds"})
    start, end = this_minute() - timedelta(minutes=5), this_minute() + timedelta(minutes=5)
    [point] = metrics.read_soon("m", start, end, Unit="Seconds")
    assert point["Unit"] == "Seconds"
    assert metrics.read("m", start, end, Unit="Milliseconds") == []


@documented(GET)
def test_a_statistic_set_counts_as_its_samples(metrics: Metrics) -> None:
    """Statistics aggregate published statistic sets: their sums and sample counts are added."""
    values = {"SampleCount": 4.0, "Sum": 10.0, "Minimum": 1.0, "Maximum": 4.0}
    metrics.put({"MetricName": "m", "StatisticValues": values}, {"MetricName": "m", "Value": 5.0})
    start, end = this_minute() - timedelta(minutes=5), this_minute() + timedelta(minutes=5)
    points = metrics.read_soon("m", start, end, 3600)
    assert (sum(point["Sum"] for point in points), sum(point["SampleCount"] for point in points)) == (15.0, 5.0)


@documented(PUT)
@pytest.mark.parametrize(
    ("age", "accepted"),
    [
        (timedelta(days=13), True),
        (timedelta(days=15), False),
        (timedelta(hours=-1), True),
        (timedelta(hours=-3), False),
    ],
)
def test_timestamps_are_two_weeks_ago_to_two_hours_ahead(metrics: Metrics, age: timedelta, accepted: bool) -> None:
    """Time stamps can be as much as two weeks before the current date, and 2 hours after the current time."""
    datum = {"MetricName": "m", "Value": 1.0, "Timestamp": datetime.now(UTC) - age}
    if accepted:
        metrics.put(datum)
    else:
        assert metrics.refused(datum)


@documented(PUT)
def test_a_call_has_at_most_1000_metrics(metrics: Metrics) -> None:
    """Each request is limited to no more than 1000 different metrics."""
    data = [{"MetricName": f"m{number}", "Value": 1.0} for number in range(1001)]
    metrics.put(*data[:1000])
    assert metrics.refused(*data)


@documented(PUT)
def test_a_metric_has_at_most_30_dimensions(metrics: Metrics) -> None:
    """You can use up to 30 dimensions per metric."""
    dimensions = [{"Name": f"d{number}", "Value": "v"} for number in range(31)]
    metrics.put({"MetricName": "m", "Value": 1.0, "Dimensions": dimensions[:30]})
    assert metrics.refused({"MetricName": "m", "Value": 1.0, "Dimensions": dimensions})


@documented(PUT)
def test_a_metric_has_at_most_150_values(metrics: Metrics) -> None:
    """With Values and Counts, up to 150 values per metric can be published with one request."""
    metrics.put({"MetricName": "m", "Values": [float(number) for number in range(150)]})
    assert metrics.refused({"MetricName": "m", "Values": [float(number) for number in range(151)]})


@documented(PUT)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2.0**361])
def test_special_values_are_refused(metrics: Metrics, value: float) -> None:
    """Values must be in the range of -2^360 to 2^360; NaN and Infinity are not supported."""
    assert metrics.refused({"MetricName": "m", "Value": value})
