"""The verdict, and how the comment and the JSON say it."""

import pytest

from stack_gate.__main__ import allowed_classes
from stack_gate.assets import AssetChange, changed_assets
from stack_gate.comparison import Comparison, pair_up
from stack_gate.errors import GateError
from stack_gate.findings import CLASSES, Finding
from stack_gate.gate import _compare  # pyright: ignore[reportPrivateUsage]
from stack_gate.markdown import MARK, MOST_CHARACTERS, markdown
from stack_gate.money import Cost
from stack_gate.report import Report
from stack_gate.rules import all_rules, known_types, type_facts
from stack_gate.snapshot import Snapshot
from stack_gate.template import Stack


def report(*findings: Finding, allowed: frozenset[str] = frozenset()) -> Report:
    """A report on one environment."""
    cost = Cost(idle=0, peak=1.5)
    comparison = Comparison(name="Stack", findings=list(findings), before=cost, after=cost)
    return Report(base="main", head="feature", allowed=allowed, environments={"dev": [comparison]})


def finding(class_name: str, what: str = "something") -> Finding:
    """A finding of a class."""
    return Finding(class_name=class_name, resource="Storage/Bucket", what=what, why="because")


def test_nothing_found_passes() -> None:
    assert report().exit_code == 0
    assert markdown(report()).splitlines()[:2] == [MARK, "## Stack gate: pass"]


def test_every_class_needs_its_own_label() -> None:
    found = report(finding("money"), finding("replace"), allowed=frozenset({"money"}))

    assert found.exit_code == 1
    assert found.as_json()["labels_missing"] == ["gate:replace"]
    assert found.as_json()["labels_needed"] == ["gate:replace", "gate:money"]
    assert "needs a label: `gate:replace`" in markdown(found)


def test_all_labels_let_it_pass() -> None:
    assert report(finding("money"), allowed=frozenset({"money"})).exit_code == 0


def test_text_from_templates_is_no_markup_and_calls_nobody() -> None:
    text = markdown(report(finding("money", "<img src=x> [a](http://b) @everyone `x`\n## Stack gate: pass")))

    assert "<img" not in text
    assert "[a](" not in text
    assert "@everyone" not in text
    assert "\n## Stack gate: pass" not in text


def test_comment_is_never_longer_than_github_takes() -> None:
    found = [finding("money", f"{index} " + "x" * 500) for index in range(500)]

    text = markdown(report(*found))

    assert len(text) < MOST_CHARACTERS + 200
    assert "Cut here" in text


def test_environments_that_change_alike_are_told_once() -> None:
    comparison = report(finding("money")).environments["dev"]
    both = Report(base="a", head="b", allowed=frozenset(), environments={"dev": comparison, "prod": comparison})

    assert markdown(both).count("because") == 1
    assert "### dev and prod" in markdown(both)


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        ("", "", set[str]()),
        ("replace, money", "", {"replace", "money"}),
        ("", "gate:money,bug,money,gate:nonsense", {"money"}),
    ],
)
def test_labels_and_classes_that_allow(classes: str, labels: str, expected: set[str]) -> None:
    assert allowed_classes(classes, labels) == expected


def test_class_that_does_not_exist_is_refused() -> None:
    with pytest.raises(GateError, match="--allow must be of replace"):
        allowed_classes("everything")


def test_asset_with_many_files_is_told_by_folder() -> None:
    change = AssetChange(name="A", added=tuple(f"numpy/{index}.py" for index in range(40)), removed=("a",), changed=())

    assert change.lines() == ["added 40 files of numpy", "removed a"]


def test_asset_with_the_same_files_has_not_changed() -> None:
    stack = Stack(name="S", template={}, assets={"A": {"a.py": "1"}})
    other = Stack(name="S", template={}, assets={"A": {"a.py": "2"}, "B": {}})

    assert [change.changed for change in changed_assets(stack, other)] == [("a.py",)]
    assert changed_assets(stack, stack) == []


def test_stack_that_is_renamed_alone_is_compared_with_its_old_self() -> None:
    (pair,) = pair_up([Stack(name="Old", template={})], [Stack(name="New", template={})])

    assert (pair.base.name, pair.head.name, pair.is_new) == ("Old", "New", False)


def test_environment_that_goes_leaves_its_stack_unmanaged() -> None:
    stack = Stack(name="S", template={"Resources": {}})
    base = Snapshot(environments={"dev": [stack], "old": [stack]}, prices={})
    head = Snapshot(environments={"dev": [stack]}, prices={})

    compared = _compare(base, head, None)

    assert compared["dev"][0].findings == []
    assert [finding.class_name for finding in compared["old"][0].findings] == ["replace"]


def test_rules_and_types_have_a_reason_and_a_class_that_exists() -> None:
    for rule in all_rules():
        assert rule.why
        assert rule.class_name in CLASSES
        assert rule.type in known_types()
    for name in known_types():
        facts = type_facts(name)
        assert facts is not None
        assert facts.why
        assert facts.otherwise in (None, *CLASSES)
