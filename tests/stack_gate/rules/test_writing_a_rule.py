"""docs/writing-a-gate-rule.md: its blocks are added to the gate, which then says what its table shows."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stack_gate.diff.stacks import Pair
from stack_gate.gate import compare
from stack_gate.rules import evaluate, predicates, tables
from stack_gate.template import Stack
from tests.workflows.steps import ROOT

PAGE = (ROOT / "docs/writing-a-gate-rule.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\".*)` \| (.*) \|$", PAGE, re.MULTILINE)
ALARM = {"EvaluationPeriods": 2, "Threshold": 10, "ComparisonOperator": "GreaterThanThreshold"}


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL))


def judge(*changes: str, **base: Any) -> list[str]:
    """Return what the page's table says of each change of one property of an alarm, in one run of the differ."""
    before = {**ALARM, **base}
    sides = [before, *({**before, **json.loads(f"{{{change}}}")} for change in changes)]
    stacks = [
        Stack(name="S", template={"Resources": {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}}})
        for properties in sides
    ]
    compared = compare([Pair(base=stacks[0], head=head) for head in stacks[1:]], [{}])
    found = [[one for one in comparison.findings if one.class_name == "service"] for comparison in compared]
    return [", ".join(f"{one.what}. *{one.why}*" for one in listed) or "none" for listed in found]


@pytest.fixture
def with_the_rule(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The gate with the page's rows and predicate, until the test ends."""
    text = Path(tables.__file__).with_name("rules.toml").read_text(encoding="utf-8")
    rules = tomllib.loads(f"{text}\n{blocks('toml')}")
    original = tables._table  # pyright: ignore[reportPrivateUsage]

    def extended(name: str) -> dict[str, Any]:
        return rules if name == "rules.toml" else original(name)

    monkeypatch.setattr(tables, "_table", extended)
    exec(blocks("python"), predicates.__dict__)  # the page's own code, as if it were written into predicates.py
    tables.all_rules.cache_clear()
    yield
    del predicates.PREDICATES["harder_to_breach"]
    del predicates.__dict__["harder_to_breach"]
    tables.all_rules.cache_clear()


def test_page_has_rows_that_are_held_and_rows_that_pass() -> None:
    assert len([row for row in ROWS if row[1] != "none"]) == 3
    assert len([row for row in ROWS if row[1] == "none"]) == 3


def test_rule_says_what_the_page_shows(with_the_rule: None) -> None:
    assert judge(*(change for change, _ in ROWS)) == [expected for _, expected in ROWS]


def test_predicate_knows_the_direction(with_the_rule: None) -> None:
    lower, higher = judge('"Threshold": 5', '"Threshold": 50', ComparisonOperator="LessThanThreshold")

    assert (lower, higher) == ("Threshold: 10 → 5. *the alarm goes off later, or never*", "none")


def test_without_the_rule_nothing_is_held() -> None:
    assert "harder_to_breach" not in evaluate.PREDICATES
    assert judge(*(change for change, _ in ROWS)) == ["none"] * len(ROWS)
