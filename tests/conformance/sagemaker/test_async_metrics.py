"""The metrics of an asynchronous endpoint in CloudWatch: names, dimensions, units and values, minute by minute."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace
from tests.conformance.endpoints import AsyncEndpoint

MONITOR = "https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html"
HOST = "https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html"
QUEUE = ("EndpointName",)
VARIANT = ("EndpointName", "VariantName")


@pytest.fixture(scope="module")
def busy(fast_workspace: Workspace) -> AsyncEndpoint:
    """An endpoint that has answered one request from S3, refused one with 400 and one with 500."""
    made = AsyncEndpoint(fast_workspace)
    made.create()
    first = made.invoke_location("in/x", b'{"sleep": 0.2}', ContentType="application/json")
    others = [made.invoke({"status": status}) for status in (400, 500)]
    made.await_object(first["OutputLocation"])
    for answer in others:
        made.await_object(answer["FailureLocation"])
    return made


def datapoints(
    endpoint: AsyncEndpoint,
    metric: str,
    dimensions: tuple[str, ...],
    namespace: str = "AWS/SageMaker",
    *,
    samples: int = 1,
) -> list[dict[str, Any]]:
    """Wait for a metric's datapoints of at least so many `samples`, which may fall into several minutes."""
    values = {"EndpointName": endpoint.name, "VariantName": "AllTraffic"}
    cloudwatch, now = endpoint.workspace.client("cloudwatch"), datetime.now(UTC)

    def found() -> list[dict[str, Any]] | None:
        points = cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": values[name]} for name in dimensions],
            StartTime=now - timedelta(hours=2),
            EndTime=now + timedelta(hours=10),  # the embedded AWS's clock runs ahead
            Period=60,
            Statistics=["Sum", "SampleCount", "Maximum", "Minimum", "Average"],
        )["Datapoints"]
        return points if sum(point["SampleCount"] for point in points) >= samples else None

    return endpoint.workspace.wait(found, f"datapoints of {metric}", 15)


def total(points: list[dict[str, Any]]) -> float:
    return sum(point["Sum"] for point in points)


@documented(MONITOR, minutes=5)
def test_the_backlog_counts_requests(busy: AsyncEndpoint) -> None:
    """ApproximateBacklogSize: items being processed or yet to be processed. Units: Count; dimension EndpointName."""
    assert {point["Unit"] for point in datapoints(busy, "ApproximateBacklogSize", QUEUE)} == {"Count"}


@documented(MONITOR, minutes=5)
def test_the_backlog_per_instance_counts_requests(busy: AsyncEndpoint) -> None:
    """ApproximateBacklogSizePerInstance: items in the queue divided by the number of instances. Units: Count."""
    assert {point["Unit"] for point in datapoints(busy, "ApproximateBacklogSizePerInstance", QUEUE)} == {"Count"}


@documented(MONITOR, minutes=5)
def test_the_oldest_request_has_an_age(busy: AsyncEndpoint) -> None:
    """ApproximateAgeOfOldestRequest: age of the oldest request in the queue. Units: Seconds."""
    assert {point["Unit"] for point in datapoints(busy, "ApproximateAgeOfOldestRequest", QUEUE)} == {"Seconds"}


@documented(MONITOR, minutes=5)
def test_a_backlog_without_capacity_is_one_at_zero_instances(busy: AsyncEndpoint) -> None:
    """HasBacklogWithoutCapacity: 0 while the endpoint has instances. Units: Count; dimension EndpointName."""
    points = datapoints(busy, "HasBacklogWithoutCapacity", QUEUE)
    assert {(point["Unit"], point["Maximum"]) for point in points} == {("Count", 0.0)}


@documented(MONITOR, minutes=5)
def test_processed_invocations_are_counted(busy: AsyncEndpoint) -> None:
    """InvocationsProcessed: number of async invocations processed by the endpoint. Units: Count."""
    points = datapoints(busy, "InvocationsProcessed", VARIANT)
    assert total(points) >= 1
    assert {point["Unit"] for point in points} == {"Count"}


@documented(MONITOR, minutes=5)
def test_failed_invocations_are_counted(busy: AsyncEndpoint) -> None:
    """InvocationFailures: if an invocation fails for any reason. Units: Count."""
    points = datapoints(busy, "InvocationFailures", VARIANT, samples=2)
    assert total(points) == 2
    assert {point["Unit"] for point in points} == {"Count"}


@documented(MONITOR, minutes=5)
def test_4xx_answers_are_ones_among_zeros(busy: AsyncEndpoint) -> None:
    """Invocation4XXErrors: for each 4xx response, 1 is sent; otherwise, 0 is sent. Units: None."""
    points = datapoints(busy, "Invocation4XXErrors", VARIANT, samples=3)
    assert (total(points), sum(point["SampleCount"] for point in points)) == (1, 3)
    assert {point["Unit"] for point in points} == {"None"}


@documented(MONITOR, minutes=5)
def test_5xx_answers_are_ones_among_zeros(busy: AsyncEndpoint) -> None:
    """Invocation5XXErrors: for each 5xx response, 1 is sent; otherwise, 0 is sent. Units: None."""
    points = datapoints(busy, "Invocation5XXErrors", VARIANT, samples=3)
    assert (total(points), sum(point["SampleCount"] for point in points)) == (1, 3)
    assert {point["Unit"] for point in points} == {"None"}


@documented(MONITOR, minutes=5)
def test_the_models_latency_is_in_microseconds(busy: AsyncEndpoint) -> None:
    """ModelLatency: the time taken by a model to respond. Units: Microseconds."""
    points = datapoints(busy, "ModelLatency", VARIANT)
    assert max(point["Maximum"] for point in points) >= 200_000
    assert {point["Unit"] for point in points} == {"Microseconds"}


@documented(MONITOR, minutes=5)
def test_the_backlog_time_is_in_milliseconds(busy: AsyncEndpoint) -> None:
    """TimeInBacklog: total time the request was queued before being processed. Units: Milliseconds."""
    assert {point["Unit"] for point in datapoints(busy, "TimeInBacklog", VARIANT)} == {"Milliseconds"}


@documented(MONITOR, minutes=5)
def test_the_processing_time_is_in_milliseconds(busy: AsyncEndpoint) -> None:
    """TotalProcessingTime: from the time the request was received to the time it finished. Units: Milliseconds."""
    points = datapoints(busy, "TotalProcessingTime", VARIANT)
    assert max(point["Maximum"] for point in points) >= 200
    assert {point["Unit"] for point in points} == {"Milliseconds"}


@documented(MONITOR, minutes=5)
def test_the_download_latency_is_in_microseconds(busy: AsyncEndpoint) -> None:
    """RequestDownloadLatency: total time to download the request payload. Units: Microseconds."""
    assert {point["Unit"] for point in datapoints(busy, "RequestDownloadLatency", VARIANT)} == {"Microseconds"}


@documented(MONITOR, minutes=5)
def test_the_upload_latency_is_in_microseconds(busy: AsyncEndpoint) -> None:
    """ResponseUploadLatency: total time to upload the response payload. Units: Microseconds."""
    assert {point["Unit"] for point in datapoints(busy, "ResponseUploadLatency", VARIANT)} == {"Microseconds"}


@documented(MONITOR, minutes=5)
def test_metrics_of_synchronous_endpoints_are_not_published(busy: AsyncEndpoint) -> None:
    """OverheadLatency, Invocations and InvocationsPerInstance are not published for asynchronous endpoints."""
    datapoints(busy, "InvocationsProcessed", VARIANT)
    listed = busy.workspace.client("cloudwatch").list_metrics(
        Namespace="AWS/SageMaker", Dimensions=[{"Name": "EndpointName", "Value": busy.name}]
    )
    names = {metric["MetricName"] for metric in listed["Metrics"]}
    assert names and not names & {"OverheadLatency", "Invocations", "InvocationsPerInstance"}


@documented(HOST, minutes=5)
def test_each_instance_reports_its_cpu(busy: AsyncEndpoint) -> None:
    """CPUUtilization, namespace /aws/sagemaker/Endpoints. Units: Percent."""
    points = datapoints(busy, "CPUUtilization", VARIANT, "/aws/sagemaker/Endpoints")
    assert {point["Unit"] for point in points} == {"Percent"}


@documented("https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-troubleshooting.html", minutes=5)
def test_the_sample_count_of_the_cpu_is_the_instance_count(busy: AsyncEndpoint) -> None:
    """View CPUUtilization's sample count for a 1 minute period: it is equal to the number of active instances."""

    def samples(metric: str, dimensions: tuple[str, ...], namespace: str) -> dict[datetime, float]:
        points = datapoints(busy, metric, dimensions, namespace)
        return {point["Timestamp"]: point["SampleCount"] for point in points}

    def one_instance() -> bool:
        # The backlog has one sample a minute of the clock, which may be faster than the time of day.
        minutes = samples("ApproximateBacklogSize", QUEUE, "AWS/SageMaker")
        return samples("CPUUtilization", VARIANT, "/aws/sagemaker/Endpoints") == minutes

    busy.workspace.wait(one_instance, "a sample of the CPU for each of the backlog", 30)
