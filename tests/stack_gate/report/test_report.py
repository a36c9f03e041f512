"""The verdict, and the comment and JSON report that state it."""

import pytest

from stack_gate import GateError
from stack_gate.__main__ import allowed_classes
from stack_gate.collect.snapshots import Snapshot
from stack_gate.diff.stacks import AssetChange, changed_assets, pair_up
from stack_gate.findings import CLASSES, Finding
from stack_gate.gate import compare_snapshots
from stack_gate.report.report import MARK, MAX_CHARACTERS, Comparison, Report
from stack_gate.rules.cost import Cost
from stack_gate.rules.predicates import PREDICATES
from stack_gate.rules.tables import all_rules, known_types, type_facts
from stack_gate.template import Stack


def report(*findings: Finding, allowed: frozenset[str] = frozenset()) -> Report:
    """Return a report on one environment."""
    cost = Cost(idle=0, peak=1.5)
    comparison = Comparison(name="Stack", findings=list(findings), before=cost, after=cost)
    return Report(base="main", head="feature", allowed=allowed, environments={"dev": [comparison]})


def finding(class_name: str, what: str = "something") -> Finding:
    """Return a finding of a class."""
    return Finding(class_name=class_name, resource="Storage/Bucket", what=what, why="because")


def test_report_without_findings_passes() -> None:
    assert report().exit_code == 0
    assert report().as_markdown().splitlines()[:2] == [MARK, "## Stack gate: pass"]


def test_every_class_needs_its_own_label() -> None:
    found = report(finding("money"), finding("replace"), allowed=frozenset({"money"}))

    assert found.exit_code == 1
    assert found.as_json()["labels_missing"] == ["gate:replace"]
    assert found.as_json()["labels_needed"] == ["gate:replace", "gate:money"]
    assert "needs a label: `gate:replace`" in found.as_markdown()


def test_report_passes_with_every_label() -> None:
    assert report(finding("money"), allowed=frozenset({"money"})).exit_code == 0


def test_text_from_templates_is_escaped_and_mentions_nobody() -> None:
    text = report(finding("money", "<img src=x> [a](http://b) @everyone `x`\n## Stack gate: pass")).as_markdown()

    assert "<img" not in text
    assert "[a](" not in text
    assert "@everyone" not in text
    assert "\n## Stack gate: pass" not in text


def test_comment_fits_github_limit() -> None:
    found = [finding("money", f"{index} " + "x" * 500) for index in range(500)]

    text = report(*found).as_markdown()

    assert len(text) < MAX_CHARACTERS + 200
    assert "Cut here" in text


def test_environments_that_change_alike_share_a_section() -> None:
    comparison = report(finding("money")).environments["dev"]
    both = Report(base="a", head="b", allowed=frozenset(), environments={"dev": comparison, "prod": comparison})

    assert both.as_markdown().count("because") == 1
    assert "### dev and prod" in both.as_markdown()


@pytest.mark.parametrize(
    ("classes", "expected"),
    [("", set[str]()), ("replace, money", {"replace", "money"})],
)
def test_allowed_classes_come_from_a_list(classes: str, expected: set[str]) -> None:
    assert allowed_classes(classes) == expected


def test_unknown_class_is_rejected() -> None:
    with pytest.raises(GateError, match="--allow must be a list of gate, replace"):
        allowed_classes("everything")


def test_asset_with_many_files_is_listed_by_folder() -> None:
    change = AssetChange(name="A", added=tuple(f"numpy/{index}.py" for index in range(40)), removed=("a",), changed=())

    assert change.lines() == ["added 40 files in numpy", "removed a"]


def test_asset_with_the_same_files_is_unchanged() -> None:
    stack = Stack(name="S", template={}, assets={"A": {"a.py": "1"}})
    other = Stack(name="S", template={}, assets={"A": {"a.py": "2"}, "B": {}})

    assert [change.changed for change in changed_assets(stack, other)] == [("a.py",)]
    assert changed_assets(stack, stack) == []


def test_only_stack_is_compared_with_itself_after_a_rename() -> None:
    (pair,) = pair_up([Stack(name="Old", template={})], [Stack(name="New", template={})])

    assert (pair.base.name, pair.head.name, pair.is_new) == ("Old", "New", False)


def test_removed_environment_leaves_its_stack_unmanaged() -> None:
    stack = Stack(name="S", template={"Resources": {}})
    base = Snapshot(environments={"dev": [stack], "old": [stack]}, prices={})
    head = Snapshot(environments={"dev": [stack]}, prices={})

    compared, _ = compare_snapshots(base, head)

    assert compared["dev"][0].findings == []
    assert [finding.class_name for finding in compared["old"][0].findings] == ["replace"]


def test_rules_and_types_have_a_reason_a_known_class_and_a_predicate() -> None:
    for rule in all_rules():
        assert rule.why
        assert rule.class_name in CLASSES
        assert rule.type in known_types()
        assert rule.predicate in PREDICATES
    for name in known_types():
        facts = type_facts(name)
        assert facts is not None
        assert facts.why
        assert facts.otherwise in (None, *CLASSES)
