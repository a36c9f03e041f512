"""Fixtures: the real template, synthesised without bundling, and metric series with their samples."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.assertions import Template as Synthesised

from infra.config import from_context
from infra.stack import MusicGenStack
from local_aws.autoscaling.model.metrics import Metric, MetricSeries, MetricStore

ROOT = Path(__file__).resolve().parents[3]
Find = Callable[..., dict[str, Any]]


def _synthesise(**overrides: str) -> dict[str, Any]:
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    app = App(context={**context, "aws:cdk:bundling-stacks": []})
    stack = MusicGenStack(app, config=from_context({**context, **overrides}))
    return dict(Synthesised.from_stack(stack).to_json())


@pytest.fixture(scope="session")
def synthesised() -> dict[str, dict[str, Any]]:
    """The dev template with a maximum capacity of one (the default) and of four."""
    return {"one": _synthesise(), "four": _synthesise(max_capacity="4")}


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
