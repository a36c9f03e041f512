"""IAM conditions: does one that holds make another hold as well?"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from stack_gate.globs import covered
from stack_gate.intrinsics import Resolver
from stack_gate.template import Json, as_list, is_object

LIKE = {"StringLike": "StringLike", "StringEquals": "StringLike", "ArnLike": "ArnLike", "ArnEquals": "ArnLike"}
EXACT = ("StringEquals", "StringEqualsIgnoreCase", "NumericEquals", "DateEquals", "Bool", "BinaryEquals", "Null")
NEGATED = ("StringNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike", "ArnNotEquals", "ArnNotLike")
ORDERED = {"LessThan": 1, "LessThanEquals": 1, "GreaterThan": -1, "GreaterThanEquals": -1}
MOST_ALTERNATIVES = 256


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One key of a condition block: `set_operator` is `ForAllValues`, `ForAnyValue` or empty."""

    set_operator: str
    operator: str
    if_exists: bool
    key: str
    values: tuple[str, ...]

    def words(self) -> str:
        """The clause in words."""
        operator = f"{self.set_operator}:{self.operator}".lstrip(":")
        exists = "IfExists" if self.if_exists else ""
        return f"{self.key} {operator}{exists} {' or '.join(self.values)}"


Condition = frozenset[Clause]


def parse_condition(block: Json, resolver: Resolver) -> Condition | None:
    """A statement's Condition as clauses, all of which must hold; None where it cannot be read."""
    if not is_object(block) or not all(is_object(keys) for keys in block.values()):
        return None
    clauses: set[Clause] = set()
    for operator, keys in block.items():
        set_operator, _, plain = str(operator).rpartition(":")
        for key, values in keys.items():
            clauses.add(
                Clause(
                    set_operator=set_operator,
                    operator=plain.removesuffix("IfExists"),
                    if_exists=plain.endswith("IfExists"),
                    key=str(key).lower(),
                    values=tuple(sorted(resolver.text(value) for value in as_list(values))),
                )
            )
    return frozenset(clauses)


def alternatives(condition: Condition) -> list[Condition]:
    """The condition as alternatives with one value each, where values are alternatives; else the condition itself."""
    choices = [_split(clause) for clause in sorted(condition, key=Clause.words)]
    count = 1
    for choice in choices:
        count *= len(choice)
    return [frozenset(chosen) for chosen in product(*choices)] if count <= MOST_ALTERNATIVES else [condition]


def implies(strict: Condition, loose: Condition) -> bool | None:
    """Whether every request that meets `strict` meets `loose`; None where that cannot be decided."""
    answers = [_met(clause, strict) for clause in loose]
    if all(answer is True for answer in answers):
        return True
    return None if None in answers and False not in answers else False


def _split(clause: Clause) -> list[Clause]:
    single = not clause.set_operator and clause.operator in (*LIKE, *EXACT, "IpAddress")
    if not single or len(clause.values) < 2:
        return [clause]
    return [
        Clause(set_operator="", operator=clause.operator, if_exists=clause.if_exists, key=clause.key, values=(value,))
        for value in clause.values
    ]


def _met(loose: Clause, strict: Condition) -> bool | None:
    rivals = [clause for clause in strict if clause.key == loose.key]
    if not rivals:
        return False
    answers = [_clause_implies(rival, loose) for rival in rivals]
    return True if True in answers else None if None in answers else False


def _clause_implies(strict: Clause, loose: Clause) -> bool | None:
    if strict == loose:
        return True
    if strict.set_operator != loose.set_operator:
        return None
    if strict.if_exists and not loose.if_exists:
        return False
    if loose.operator in NEGATED:
        return _negated_implies(strict, loose)
    return _positive_implies(strict, loose)


def _negated_implies(strict: Clause, loose: Clause) -> bool | None:
    """More values refused is stricter. With several values of a key in the request only equal clauses are compared."""
    if strict.operator != loose.operator or strict.set_operator:
        return None
    if "Like" in loose.operator or "Arn" in loose.operator:
        return all(covered(value, strict.values) for value in loose.values)
    return set(loose.values) <= set(strict.values)


def _positive_implies(strict: Clause, loose: Clause) -> bool | None:
    wider = LIKE.get(loose.operator)
    if wider == loose.operator and wider in (LIKE.get(strict.operator), strict.operator):
        return all(covered(_literal(strict, value), loose.values) for value in strict.values)
    if {strict.operator, loose.operator} <= {"ArnLike", "ArnEquals"}:
        return all(covered(value, loose.values) for value in strict.values)
    if strict.operator != loose.operator:
        return None
    if loose.operator in EXACT:
        return set(strict.values) <= set(loose.values)
    if loose.operator == "IpAddress":
        return _networks_within(strict.values, loose.values)
    return _ordered_implies(strict, loose)


def _literal(clause: Clause, value: str) -> str:
    """Stars and question marks of an exact operator are themselves; a place that only a star matches is stricter."""
    if clause.operator == "StringEquals":
        return value.replace("*", "\ue001").replace("?", "\ue001")
    return value


def _ordered_implies(strict: Clause, loose: Clause) -> bool | None:
    direction = ORDERED.get(loose.operator.removeprefix("Numeric"))
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
    return all(any(_within(network, other) for other in outer) for network in inner)


def _within(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network, outer: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False
