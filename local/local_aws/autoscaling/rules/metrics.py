"""Metric samples, and the series of datapoints that an alarm evaluates."""

import functools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import fmean

from local_aws.autoscaling.rules.metric_math import Expression

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
_RETENTION_SECONDS = 26 * 3600.0  # CloudWatch's longest alarm looks back one day
_NO_SAMPLES: tuple[list[float], list[float]] = ([], [])
STATISTICS: Mapping[str, Callable[[list[float]], float]] = {
    "Average": fmean,
    "Sum": sum,
    "Minimum": min,
    "Maximum": max,
    "SampleCount": len,
}


@dataclass(frozen=True)
class Metric:
    """A metric. Samples and alarms match only if namespace, name and all dimensions are equal.

    With a `unit`, only the samples that were published with it.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#Dimension
    """

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]
    unit: str = ""

    @classmethod
    def of(cls, namespace: str, name: str, dimensions: Mapping[str, str], unit: str = "") -> "Metric":
        return cls(namespace, name, frozenset(dimensions.items()), unit)

    def __str__(self) -> str:
        dimensions = ", ".join(f"{name}={value}" for name, value in sorted(self.dimensions))
        return f"{self.namespace} {self.name} ({dimensions or 'no dimensions'})"


@functools.lru_cache(maxsize=4096)  # every minute has samples of the same few metrics
def _with_unit(metric: Metric, unit: str) -> Metric:
    return replace(metric, unit=unit)


class MetricStore:
    """Samples by metric, kept for 26 hours. Times are in seconds since `epoch`; a sample may arrive late."""

    def __init__(self, epoch: datetime = MONDAY) -> None:
        self.epoch = epoch
        self._samples: dict[Metric, tuple[list[float], list[float]]] = {}  # times, values

    def put(self, metric: Metric, value: float, at: float, unit: str = "") -> None:
        """Store a sample, to be found with its unit and without."""
        self._insert(metric, value, at)
        if unit:
            self._insert(_with_unit(metric, unit), value, at)

    def _insert(self, metric: Metric, value: float, at: float) -> None:
        found = self._samples.get(metric)
        if found is None:
            found = self._samples[metric] = ([], [])
        times, values = found
        place = bisect_right(times, at)
        times.insert(place, at)
        values.insert(place, value)
        if at - times[0] > 2 * _RETENTION_SECONDS:  # rarely and in bulk: deleting a list's head is slow
            cut = bisect_left(times, at - _RETENTION_SECONDS)
            del times[:cut], values[:cut]

    def between(self, metric: Metric, start: float, end: float) -> list[float]:
        """Return the values from `start` (inclusive) to `end` (exclusive)."""
        return self.windows(metric, (start, end))[0]

    def windows(self, metric: Metric, bounds: Sequence[float]) -> list[list[float]]:
        """Return the values between each two adjacent `bounds`, which ascend: from one (inclusive) to the next."""
        times, values = self._samples.get(metric, _NO_SAMPLES)
        places = [bisect_left(times, bound) for bound in bounds]
        return [values[first:last] for first, last in pairwise(places)]


@dataclass(frozen=True)
class MetricSeries:
    """A statistic of one metric. `statistic` is one of STATISTICS; `period` is in seconds."""

    metric: Metric
    statistic: str
    period: int

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise ValueError(f"statistic must be one of {', '.join(STATISTICS)}, got {self.statistic}")
        if self.period < 10:
            raise ValueError(f"period must be at least 10 seconds, got {self.period}")

    def datapoint(self, store: MetricStore, end: float) -> float | None:
        """Return the statistic over the period that ends at `end`, or None without samples."""
        values = store.between(self.metric, end - self.period, end)
        return STATISTICS[self.statistic](values) if values else None


@dataclass(frozen=True)
class MathSeries:
    """A metric math expression over metrics by id. `period` is in seconds."""

    expression: Expression
    inputs: Mapping[str, MetricSeries]
    period: int

    def datapoint(self, store: MetricStore, end: float) -> float | None:
        """Return the expression's value over the period that ends at `end`, or None if it needs missing data."""
        values = {name: series.datapoint(store, end) for name, series in self.inputs.items()}
        return self.expression.value(values, store.epoch + timedelta(seconds=end - self.period))


Series = MetricSeries | MathSeries


def datapoints(series: Series, store: MetricStore, now: float, count: int) -> list[float | None]:
    """Return the last `count` datapoints at `now`, oldest first, None for a missing one.

    The window slides: an alarm with a period of five minutes evaluates the previous five minutes every minute.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
    """
    if isinstance(series, MetricSeries):
        bounds = [now - age * series.period for age in range(count, -1, -1)]
        statistic = STATISTICS[series.statistic]
        return [statistic(values) if values else None for values in store.windows(series.metric, bounds)]
    return [series.datapoint(store, now - age * series.period) for age in reversed(range(count))]
