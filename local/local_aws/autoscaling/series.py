"""What an alarm watches, as a series of datapoints: a statistic of one metric, or an expression over several."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

from local_aws.autoscaling.expressions import Expression
from local_aws.autoscaling.metrics import Metric, MetricStore

STATISTICS: Mapping[str, Callable[[list[float]], float]] = {
    "Average": fmean,
    "Sum": sum,
    "Minimum": min,
    "Maximum": max,
    "SampleCount": len,
}


@dataclass(frozen=True)
class MetricSeries:
    """One metric. `statistic` is one of STATISTICS; `period` is in seconds."""

    metric: Metric
    statistic: str
    period: int

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise ValueError(f"statistic must be one of {', '.join(STATISTICS)}, got {self.statistic}")
        if self.period < 10:
            raise ValueError(f"period must be at least 10 seconds, got {self.period}")

    def datapoint(self, store: MetricStore, end: float) -> float | None:
        """The statistic over the period that ends at `end`, None without samples."""
        values = store.between(self.metric, end - self.period, end)
        return STATISTICS[self.statistic](values) if values else None


@dataclass(frozen=True)
class MathSeries:
    """A metric math expression over metrics by their ids. `period` is in seconds."""

    expression: Expression
    inputs: Mapping[str, MetricSeries]
    period: int

    def datapoint(self, store: MetricStore, end: float) -> float | None:
        """The expression's value over the period that ends at `end`, None where data that it needs is missing."""
        return self.expression.value({name: series.datapoint(store, end) for name, series in self.inputs.items()})


Series = MetricSeries | MathSeries


def datapoints(series: Series, store: MetricStore, now: float, count: int) -> list[float | None]:
    """The last `count` datapoints at `now`, oldest first, None where one is missing.

    The window slides: an alarm with a period of five minutes is evaluated each minute over the five before.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
    """
    return [series.datapoint(store, now - age * series.period) for age in reversed(range(count))]
