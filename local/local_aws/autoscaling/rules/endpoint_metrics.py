"""The metrics that SageMaker publishes each minute for an asynchronous endpoint, with SageMaker's dimensions.

https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html and
https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html (host metrics)
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from local_aws.autoscaling.rules.metrics import Metric

NAMESPACE = "AWS/SageMaker"
HOST_NAMESPACE = "/aws/sagemaker/Endpoints"
DURATIONS = {  # each metric's unit
    "TimeInBacklog": "Milliseconds",
    "TotalProcessingTime": "Milliseconds",
    "ModelLatency": "Microseconds",
    "RequestDownloadLatency": "Microseconds",
    "ResponseUploadLatency": "Microseconds",
}
_UNITS = {
    **DURATIONS,
    "ApproximateAgeOfOldestRequest": "Seconds",
    "Invocation4XXErrors": "None",
    "Invocation5XXErrors": "None",
    "CPUUtilization": "Percent",
}


def unit_of(metric: str) -> str:
    """Return the CloudWatch unit of one of these metrics."""
    return _UNITS.get(metric, "Count")


@dataclass(frozen=True)
class EndpointLoad:
    """An endpoint's load at the end of a minute.

    `backlog`: requests waiting or running; `oldest_age`: seconds that the oldest has waited; `cpu_percent`: one value
    per instance in service; `events`: the minute's events by metric name, one value per event: 1 for a count
    (InvocationsProcessed, InvocationFailures, ExpiredRequests, ...), or a duration in SageMaker's unit (DURATIONS).
    """

    backlog: int
    oldest_age: float
    cpu_percent: tuple[float, ...]
    events: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])

    @property
    def instances(self) -> int:
        """Instances in service."""
        return len(self.cpu_percent)


def endpoint_samples(endpoint: str, variant: str, load: EndpointLoad) -> Iterator[tuple[Metric, float]]:
    """Yield one minute's samples; an event that did not occur has none, as on AWS.

    At zero instances, the backlog per instance is the backlog: AWS says that target tracking alone scales an endpoint
    out from zero once "the number of requests in the queue exceeds the target".
    """
    queue = {
        "ApproximateBacklogSize": float(load.backlog),
        "ApproximateBacklogSizePerInstance": load.backlog / max(load.instances, 1),
        "ApproximateAgeOfOldestRequest": load.oldest_age,
        "HasBacklogWithoutCapacity": float(load.backlog > 0 and load.instances == 0),
    }
    for name, value in queue.items():
        yield _metric(NAMESPACE, name, ("EndpointName", endpoint)), value
    of_variant = ("EndpointName", endpoint), ("VariantName", variant)
    for name, values in load.events.items():
        for value in values:
            yield _metric(NAMESPACE, name, *of_variant), value
    for percent in load.cpu_percent:
        yield _metric(HOST_NAMESPACE, "CPUUtilization", *of_variant), percent


@functools.lru_cache(maxsize=4096)  # every minute has samples of the same few metrics
def _metric(namespace: str, name: str, *dimensions: tuple[str, str]) -> Metric:
    return Metric.of(namespace, name, dict(dimensions))
