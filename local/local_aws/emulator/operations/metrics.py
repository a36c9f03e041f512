"""CloudWatch: GetMetricStatistics over whole periods, of the metric with exactly the given dimensions.

A datapoint's time is the start of its period, a multiple of the period since 1970, whenever its samples were published.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html
"""

from datetime import UTC, datetime
from typing import Any, cast

from moto.cloudwatch.exceptions import InvalidParameterValue
from moto.cloudwatch.models import CloudWatchBackend, Statistics
from moto.core.exceptions import ServiceException

_MAX_DATAPOINTS = 1440  # of one answer


class InvalidParameterCombination(ServiceException):
    """CloudWatch's error for parameters that do not fit each other."""

    code = "InvalidParameterCombination"


def install() -> None:
    """Replace moto's periods, which begin at the first sample, and its match of a subset of the dimensions."""
    cast(Any, CloudWatchBackend).get_metric_statistics = _get_metric_statistics


def _get_metric_statistics(
    self: Any,
    namespace: str,
    metric_name: str,
    start_time: datetime,
    end_time: datetime,
    period: int,
    stats: list[str],
    dimensions: list[dict[str, str]],
    unit: str | None = None,
) -> list[Statistics]:
    start, end = _seconds(start_time), _seconds(end_time)
    _check_range(start, end, period)
    wanted = {item["Name"]: item["Value"] for item in dimensions}
    by_period: dict[int, Statistics] = {}
    for sample in self.get_all_metrics():
        found = {item.name: item.value for item in sample.dimensions}
        if (sample.namespace, sample.name, found) != (namespace, metric_name, wanted) or unit not in (
            None,
            sample.unit,
        ):
            continue
        begins = int(_seconds(sample.timestamp) // period) * period
        if start // period * period <= begins < end:
            point = by_period.setdefault(begins, Statistics(stats, datetime.fromtimestamp(begins, UTC)))
            point.metric_data.append(sample)
            point.unit = sample.unit or "None"
    return [by_period[begins] for begins in sorted(by_period)]


def _check_range(start: float, end: float, period: int) -> None:
    if start >= end:
        raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
    if period not in (1, 5, 10, 20, 30) and (period < 60 or period % 60):
        raise InvalidParameterValue(f"The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60, got {period}.")
    if (end - start) / period > _MAX_DATAPOINTS:
        raise InvalidParameterCombination(
            f"You have requested up to {(end - start) / period:.0f} datapoints, which exceeds the limit of "
            f"{_MAX_DATAPOINTS}. You may reduce the datapoints requested by increasing Period, or decreasing the time "
            "range."
        )


def _seconds(time: datetime) -> float:
    return time.replace(tzinfo=time.tzinfo or UTC).timestamp()
