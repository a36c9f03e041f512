"""Fixtures: a modifiable copy of the real template, and metric series with their samples."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from local_aws.autoscaling.rules.metrics import Metric, MetricSeries, MetricStore

Find = Callable[..., dict[str, Any]]


@pytest.fixture
def template(synthesised: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A modifiable copy of the template with a maximum capacity of four."""
    return copy.deepcopy(synthesised["four"])


@pytest.fixture
def resource(template: dict[str, Any]) -> Find:
    """Find the only resource whose logical id starts with a prefix, to modify it in place."""

    def find(prefix: str) -> dict[str, Any]:
        [found] = [value for logical_id, value in template["Resources"].items() if logical_id.startswith(prefix)]
        return found

    return find


@pytest.fixture
def backlog() -> MetricSeries:
    """A series of one-minute averages."""
    return MetricSeries(Metric.of("AWS/SageMaker", "Backlog", {"EndpointName": "e"}), "Average", 60)


@pytest.fixture
def filled() -> Callable[..., MetricStore]:
    """Return a store with one sample of a series per minute from time 0, except where the value is None."""

    def store_with(series: MetricSeries, values: list[float | None]) -> MetricStore:
        store = MetricStore()
        for minute, value in enumerate(values):
            if value is not None:
                store.put(series.metric, value, 60.0 * minute)
        return store

    return store_with
