"""The gate's rules, read from the two tables beside this file."""

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from stack_gate.findings import Finding

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class TypeFacts:
    """What types.toml says of a resource type; see there for the meaning of each field."""

    why: str
    stateful: bool
    otherwise: str | None
    added: str | None
    free: tuple[str, ...]
    identity: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One row of rules.toml, for one path."""

    type: str
    path: str
    judge: str
    class_name: str
    why: str
    added: bool
    baseline: Any


@cache
def _types() -> dict[str, dict[str, Any]]:
    return tomllib.loads((HERE / "types.toml").read_text(encoding="utf-8"))


@cache
def type_facts(type_name: str) -> TypeFacts | None:
    """What is known of a type; None for one that the gate has no rules for."""
    row = _types().get(type_name) or _types().get("Custom::*" if type_name.startswith("Custom::") else "")
    if row is None:
        return None
    return TypeFacts(
        why=row["why"],
        stateful=row.get("stateful", False),
        otherwise=row.get("otherwise"),
        added=row.get("added"),
        free=tuple(row.get("free", ())),
        identity=tuple(row.get("identity", ())),
    )


@cache
def arn_shapes() -> dict[str, dict[str, Any]]:
    """How Ref and Fn::GetAtt of a type become text: the fields `arn`, `ref`, `arn_attribute`, `name` and `names`."""
    fields = ("arn", "ref", "arn_attribute", "name", "names")
    return {name: {field: row[field] for field in fields if field in row} for name, row in _types().items()}


@cache
def rules_for(type_name: str) -> tuple[Rule, ...]:
    """Every rule that holds for a type."""
    return tuple(rule for rule in all_rules() if fnmatchcase(type_name, rule.type))


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every row of rules.toml, once for each of its paths."""
    return tuple(_rule(row, path) for row in _tables()["rules"] for path in row["paths"])


def stack_finding(rule: str, *, resource: str = "", what: str, example: str = "") -> Finding:
    """A finding by one of the rules about the stack as a whole, with the rule's class and reason."""
    row = _tables()["stack"][rule]
    return Finding(class_name=row["class"], resource=resource, what=what, why=row["why"], example=example)


@cache
def example_actions() -> tuple[str, ...]:
    """Actions to name in counterexamples, most telling first."""
    return tuple(_tables()["examples"]["actions"])


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads((HERE / "rules.toml").read_text(encoding="utf-8"))


@cache
def known_types() -> tuple[str, ...]:
    """Every type in types.toml."""
    return tuple(_types())


def _rule(row: dict[str, Any], path: str) -> Rule:
    return Rule(
        type=row["type"],
        path=path,
        judge=row["judge"],
        class_name=row["class"],
        why=row["why"],
        added=row.get("added", False),
        baseline=row.get("baseline"),
    )
