"""IAM conditions, and whether one implies another."""

import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from stack_gate.iam.patterns import covered
from stack_gate.template import Json, Resolver, as_list, is_object

MAX_ALTERNATIVES = 256
_LIKE = {"StringLike": "StringLike", "StringEquals": "StringLike", "ArnLike": "ArnLike", "ArnEquals": "ArnLike"}
_EXACT = ("StringEquals", "StringEqualsIgnoreCase", "NumericEquals", "DateEquals", "Bool", "BinaryEquals", "Null")
_NEGATED = ("StringNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike", "ArnNotEquals", "ArnNotLike")
_ORDERED = {"LessThan": 1, "LessThanEquals": 1, "GreaterThan": -1, "GreaterThanEquals": -1}


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One key of a condition block. `set_operator` is `ForAllValues`, `ForAnyValue` or empty."""

    set_operator: str
    operator: str
    if_exists: bool
    key: str
    values: tuple[str, ...]

    def describe(self) -> str:
        operator = f"{self.set_operator}:{self.operator}".lstrip(":")
        exists = "IfExists" if self.if_exists else ""
        return f"{self.key} {operator}{exists} {' or '.join(self.values)}"


Condition = frozenset[Clause]


def parse_condition(block: Json, resolver: Resolver) -> Condition | None:
    """Return a statement's Condition as clauses that must all hold, None if it is not plain JSON."""
    if not is_object(block) or not all(is_object(keys) for keys in block.values()):
        return None
    clauses: set[Clause] = set()
    for operator, keys in block.items():
        set_operator, _, name = str(operator).rpartition(":")
        for key, values in keys.items():
            clauses.add(
                Clause(
                    set_operator=set_operator,
                    operator=name.removesuffix("IfExists"),
                    if_exists=name.endswith("IfExists"),
                    key=str(key).lower(),
                    values=tuple(sorted(resolver.text(value) for value in as_list(values))),
                )
            )
    return frozenset(clauses)


def alternatives(condition: Condition) -> list[Condition]:
    """Split a condition into conditions with one value per clause, where the values of a clause are alternatives.

    Return the condition itself if there would be more than MAX_ALTERNATIVES.
    """
    choices: list[list[Clause]] = []
    for clause in sorted(condition, key=Clause.describe):
        separable = not clause.set_operator and clause.operator in (*_LIKE, *_EXACT, "IpAddress")
        split = separable and len(clause.values) >= 2
        choices.append([replace(clause, values=(value,)) for value in clause.values] if split else [clause])
    if math.prod(map(len, choices)) > MAX_ALTERNATIVES:
        return [condition]
    return [frozenset(chosen) for chosen in product(*choices)]


def implies(strict: Condition, loose: Condition) -> bool | None:
    """Return whether every request that meets `strict` meets `loose`, None if that cannot be decided."""
    answers = [
        any_of(_clause_implies(other, clause) for other in strict if other.key == clause.key) for clause in loose
    ]
    if all(answers):
        return True
    return None if None in answers and False not in answers else False


def any_of(answers: Iterable[bool | None]) -> bool | None:
    """Return True if one of the answers is, else None if one is undecided, else False."""
    found = set(answers)
    return True if True in found else None if None in found else False


def _clause_implies(strict: Clause, loose: Clause) -> bool | None:
    if strict == loose:
        return True
    if strict.set_operator != loose.set_operator:
        return None
    if strict.if_exists and not loose.if_exists:
        return False
    if loose.operator in _NEGATED:
        # Excluding more values is stricter. With a set operator, only equal clauses can be compared.
        if strict.operator != loose.operator or strict.set_operator:
            return None
        if "Like" in loose.operator or "Arn" in loose.operator:
            return all(covered(value, strict.values) for value in loose.values)
        return set(loose.values) <= set(strict.values)
    return _positive_implies(strict, loose)


def _positive_implies(strict: Clause, loose: Clause) -> bool | None:
    wider = _LIKE.get(loose.operator)
    if wider == loose.operator and wider in (_LIKE.get(strict.operator), strict.operator):
        return all(covered(_literal(strict, value), loose.values) for value in strict.values)
    if {strict.operator, loose.operator} <= {"ArnLike", "ArnEquals"}:
        return all(covered(value, loose.values) for value in strict.values)
    if strict.operator != loose.operator:
        return None
    if loose.operator in _EXACT:
        return set(strict.values) <= set(loose.values)
    if loose.operator == "IpAddress":
        return _networks_within(strict.values, loose.values)
    return _ordered_implies(strict, loose)


def _literal(clause: Clause, value: str) -> str:
    """Hide `*` and `?` of an exact operator, which are plain characters there, from pattern matching."""
    return value.replace("*", "\ue001").replace("?", "\ue001") if clause.operator == "StringEquals" else value


def _ordered_implies(strict: Clause, loose: Clause) -> bool | None:
    direction = _ORDERED.get(loose.operator.removeprefix("Numeric"))
    try:
        numbers = [[float(value) for value in clause.values] for clause in (strict, loose)]
    except ValueError:
        return None
    if direction is None or not all(numbers):
        return None
    # Values are alternatives, so the loosest of each side counts.
    loosest = [max(values) if direction > 0 else min(values) for values in numbers]
    return loosest[0] * direction <= loosest[1] * direction


def _networks_within(strict: Iterable[str], loose: Iterable[str]) -> bool | None:
    try:
        inner, outer = ([ipaddress.ip_network(value, strict=False) for value in side] for side in (strict, loose))
    except ValueError:
        return None
    return all(
        any(
            network.version == other.version
            and network.network_address in other
            and network.prefixlen >= other.prefixlen
            for other in outer
        )
        for network in inner
    )
