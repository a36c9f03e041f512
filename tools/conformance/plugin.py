"""pytest plugin of `python -m conformance`: choose rows for the target and write what each showed."""

import json
import os
from pathlib import Path

import pytest

from conformance import targets
from conformance.behaviour import Behaviour, behaviours

RESULTS_VARIABLE = "CONFORMANCE_RESULTS"  # the file to write
KINDS_VARIABLE = "CONFORMANCE_KINDS"  # `gpu`, `slow`: kinds of rows that also run in a real account

_PROPERTY = "behaviour"
_outcomes: dict[str, str] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the declared behaviours that this target can show."""
    rows = {row.id: row for row in behaviours()}
    in_account = os.environ.get("CONFORMANCE_TARGET") == "account"
    kinds = os.environ.get(KINDS_VARIABLE, "").split()

    def runs(item: pytest.Item) -> bool:
        marker = item.get_closest_marker("behaviour")
        return marker is not None and (not in_account or affordable(rows[marker.args[0]], kinds))

    dropped = [item for item in items if not runs(item)]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


def affordable(row: Behaviour, kinds: list[str]) -> bool:
    """Return whether a row runs in a real account, given the kinds that were asked for."""
    return ("gpu" in kinds or not row.gpu) and ("slow" in kinds or not row.minutes)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Name the row in the test's reports, which may be made in another process."""
    if marker := item.get_closest_marker("behaviour"):
        item.user_properties.append((_PROPERTY, marker.args[0]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record a row's outcome: it has passed when every case of its test has."""
    row = dict(report.user_properties).get(_PROPERTY)
    if isinstance(row, str) and (report.when == "call" or (report.when == "setup" and not report.passed)):
        # An expected failure is reported as skipped, an unexpected pass as failed.
        passed = report.passed and _outcomes.get(row, "passed") == "passed"
        _outcomes[row] = "passed" if passed else "failed"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was run, and the outcomes: row id to `passed` or `failed`."""
    path = os.environ.get(RESULTS_VARIABLE)
    if path and not hasattr(session.config, "workerinput"):  # a worker of pytest-xdist has only a part
        results = {"run": targets.label(), "outcomes": dict(sorted(_outcomes.items()))}
        Path(path).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
