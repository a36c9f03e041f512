"""A store of metric samples: CloudWatch's, as far as alarms need it."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

_RETENTION_SECONDS = 26 * 3600.0  # CloudWatch's longest alarm looks back one day


@dataclass(frozen=True)
class Metric:
    """One metric. Samples and alarms meet only where namespace, name and all dimensions are equal.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#Dimension
    """

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, namespace: str, name: str, dimensions: Mapping[str, str]) -> "Metric":
        """A metric from its dimensions by name."""
        return cls(namespace, name, frozenset(dimensions.items()))

    def __str__(self) -> str:
        dimensions = ", ".join(f"{name}={value}" for name, value in sorted(self.dimensions))
        return f"{self.namespace} {self.name} ({dimensions or 'no dimensions'})"


@dataclass
class _Samples:
    times: list[float] = field(default_factory=list[float])
    values: list[float] = field(default_factory=list[float])


class MetricStore:
    """Samples by metric, kept for 26 hours. Times are in seconds and must not go back for one metric."""

    def __init__(self) -> None:
        self._samples: dict[Metric, _Samples] = {}

    def put(self, metric: Metric, value: float, at: float) -> None:
        """Adds one sample."""
        samples = self._samples.setdefault(metric, _Samples())
        if samples.times and at < samples.times[-1]:
            raise ValueError(f"at must be {samples.times[-1]:g} or later for {metric}, got {at:g}")
        samples.times.append(at)
        samples.values.append(value)
        if at - samples.times[0] > 2 * _RETENTION_SECONDS:  # in large bites: cutting a list's head is slow
            cut = bisect_left(samples.times, at - _RETENTION_SECONDS)
            del samples.times[:cut], samples.values[:cut]

    def between(self, metric: Metric, start: float, end: float) -> list[float]:
        """The values from `start` up to, not including, `end`; empty where there are none."""
        samples = self._samples.get(metric)
        if samples is None:
            return []
        return samples.values[bisect_left(samples.times, start) : bisect_left(samples.times, end)]
