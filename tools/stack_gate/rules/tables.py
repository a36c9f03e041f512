"""The rules of rules.toml and the resource types of types.toml."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from stack_gate.findings import CLASSES, Finding


@dataclass(frozen=True, kw_only=True)
class TypeFacts:
    """A row of types.toml, which explains the fields."""

    why: str
    stateful: bool = False
    otherwise: str | None = None
    added: str | None = None
    free: Sequence[str] = ()
    identity: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A row of rules.toml, for one of its types and paths."""

    type: str
    path: str
    predicate: str
    class_name: str
    why: str
    added: bool
    baseline: Any = None
    required: bool = False  # the row also applies to new resources without the property


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A row of `foreign` in rules.toml, which explains the fields."""

    types: Sequence[str]
    keys: Sequence[str]
    class_name: str
    why: str
    own: Sequence[str] = ()
    allowed: Sequence[str] = ()
    check: str = ""

    def covers(self, type_name: str) -> bool:
        return any(fnmatchcase(type_name, pattern) for pattern in self.types)


# Classes whose rules judge a new resource as one that was changed from nothing. A new resource has nothing to lose, and
# no name that another one has.
JUDGE_NEW = ("broaden", "exposure", "money")


@cache
def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


@cache
def type_facts(type_name: str) -> TypeFacts | None:
    """Return what types.toml says of a type, None if it has no row."""
    types = _table("types.toml")
    row = types.get(type_name) or types.get("Custom::*" if type_name.startswith("Custom::") else "")
    return None if row is None else TypeFacts(**row)


def known_types() -> tuple[str, ...]:
    return tuple(_table("types.toml"))


@cache
def all_rules(type_name: str = "") -> tuple[Rule, ...]:
    """Return every rule, or those for one type."""
    found: list[Rule] = []
    for class_name in CLASSES:
        for row in _table("rules.toml").get(class_name, []):
            fields = {name: value for name, value in row.items() if name not in ("types", "paths")}
            matching = [pattern for pattern in row["types"] if not type_name or fnmatchcase(type_name, pattern)]
            fields.setdefault("added", class_name in JUDGE_NEW)
            found += [
                Rule(type=pattern, path=path, class_name=class_name, **fields)
                for pattern in matching
                for path in row["paths"]
            ]
    return tuple(found)


@cache
def foreign_rows() -> tuple[Foreign, ...]:
    """Return the rules about what must come from, or go to, this stack."""
    rows: list[dict[str, Any]] = _table("rules.toml")["foreign"]
    return tuple(Foreign(**row) for row in rows)


@cache
def environment_table() -> dict[str, dict[str, str]]:
    """Return {type: {pattern of a variable's name: regular expression of its values}}."""
    return _table("rules.toml")["environment"]


def stack_finding(rule: str, *, resource: str = "", what: str, example: str = "") -> Finding:
    """Return a finding with the class and reason that the [stack] table of rules.toml gives for `rule`."""
    row = _table("rules.toml")["stack"][rule]
    return Finding(class_name=row["class"], resource=resource, what=what, why=row["why"], example=example)
