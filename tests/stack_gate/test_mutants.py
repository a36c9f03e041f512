"""Harmful changes to the real stack need exactly their labels, harmless ones need none."""

import pytest

from stack_gate.report.report import Comparison
from stack_gate.template import Stack
from tests.stack_gate.mutants import MUTANTS
from tests.stack_gate.mutants.harmless import HARMLESS
from tests.stack_gate.mutants.registry import prepare
from tests.stack_gate.mutants.stacks import Compare, changed


@pytest.fixture(scope="module")
def comparisons(base: Stack, compare_stacks: Compare) -> dict[str, Comparison]:
    """The comparison for every change, by name."""
    changes = {**{name: change for name, (change, _) in MUTANTS.items()}, **HARMLESS}
    prepared = changed(base, prepare)
    compared = compare_stacks([(prepared, changed(prepared, change)) for change in changes.values()])
    return dict(zip(changes, compared, strict=True))


def test_there_are_at_least_hundred_mutants_and_forty_harmless_changes() -> None:
    assert len(MUTANTS) >= 100
    assert len(HARMLESS) >= 40


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_needs_exactly_its_labels(name: str, comparisons: dict[str, Comparison]) -> None:
    found = comparisons[name].findings

    assert frozenset(finding.class_name for finding in found) == MUTANTS[name][1], found


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_change_needs_no_label(name: str, comparisons: dict[str, Comparison]) -> None:
    assert comparisons[name].findings == []


@pytest.mark.parametrize("name", [name for name, (_, classes) in MUTANTS.items() if classes == frozenset({"broaden"})])
def test_new_permission_has_a_reason_and_a_resource(name: str, comparisons: dict[str, Comparison]) -> None:
    for finding in comparisons[name].findings:
        assert finding.resource
        assert finding.why
