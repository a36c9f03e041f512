"""IAM conditions, and whether one implies another."""

import ipaddress
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from stack_gate.iam.patterns import covered, disjoint
from stack_gate.template import TOKEN, Json, Resolver, as_list, is_object

MAX_ALTERNATIVES = 256
_LIKE = {"StringLike": "StringLike", "StringEquals": "StringLike", "ArnLike": "ArnLike", "ArnEquals": "ArnLike"}
_EXACT = ("StringEquals", "StringEqualsIgnoreCase", "NumericEquals", "DateEquals", "Bool", "BinaryEquals", "Null")
_NEGATED = ("StringNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike", "ArnNotEquals", "ArnNotLike")
_ORDERED = {"LessThan": 1, "LessThanEquals": 1, "GreaterThan": -1, "GreaterThanEquals": -1}
_OPERATORS = {
    *_LIKE, *_EXACT, *_NEGATED, "NumericNotEquals", "DateNotEquals", "IpAddress", "NotIpAddress",
    *(f"{kind}{name}" for kind in ("Numeric", "Date") for name in _ORDERED),
}  # fmt: skip
_SET_OPERATORS = ("", "ForAllValues", "ForAnyValue")
# A tag's name, at the end of a key, may be nearly anything; a function of CloudFormation is no key.
_KEY = re.compile(r"(?!Fn::|Ref$|Condition$)[^⟦]+")


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
    """Return a statement's Condition as clauses that must all hold, None if it is not plain IAM JSON."""
    if not is_object(block) or not all(is_object(keys) for keys in block.values()):
        return None
    clauses: set[Clause] = set()
    for operator, keys in block.items():
        set_operator, _, name = str(operator).rpartition(":")
        plain = name.removesuffix("IfExists")
        if set_operator not in _SET_OPERATORS or plain not in _OPERATORS:
            return None
        for key, values in keys.items():
            if not _KEY.fullmatch(str(key)) or not all(resolver.can_resolve(value) for value in as_list(values)):
                return None
            clauses.add(
                Clause(
                    set_operator=set_operator,
                    operator=plain,
                    if_exists=name.endswith("IfExists"),
                    key=str(key).lower(),
                    values=tuple(sorted(resolver.text(value) for value in as_list(values))),
                )
            )
    return frozenset(clauses)


@lru_cache(10_000)
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


def is_impossible(condition: Condition) -> bool:
    """Return whether no request meets a condition, as far as pairs of its clauses about one key show."""
    plain = [clause for clause in condition if not clause.set_operator and not clause.if_exists]
    return any(one.key == other.key and _exclude(one, other) for one in plain for other in plain if one != other)


def _exclude(one: Clause, other: Clause) -> bool:
    """Return whether a clause that needs a value of a key excludes another of the same key."""
    if one.operator not in ("StringLike", "StringEquals"):
        return False
    values = [_literal(one, value) for value in one.values]
    if other.operator == "Null":
        return other.values == ("true",)
    others = [_literal(other, value) for value in other.values]
    if other.operator in ("StringLike", "StringEquals"):
        return _all_disjoint(values, others)
    if other.operator == "StringNotLike":
        return all(covered(value, others) for value in values)
    return (
        other.operator == "StringNotEquals" and one.operator == "StringEquals" and set(one.values) <= set(other.values)
    )


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
    if not strict.set_operator and not strict.if_exists and _implies_across(strict, loose):
        return True
    if loose.operator in _NEGATED:
        # Excluding more values is stricter. With a set operator, only equal clauses can be compared.
        if strict.operator != loose.operator or strict.set_operator:
            return None
        if "Like" in loose.operator or "Arn" in loose.operator:
            return all(covered(value, strict.values) for value in loose.values)
        return set(loose.values) <= set(strict.values)
    return _positive_implies(strict, loose)


def _implies_across(strict: Clause, loose: Clause) -> bool:
    """Return whether a clause implies one of another kind: a value that is given, or absent, decides both."""
    if strict.operator == "Null":
        return strict.values == ("true",) and (loose.if_exists or loose.operator in _NEGATED)
    if strict.operator not in ("StringLike", "StringEquals"):
        return False
    if loose.operator == "Null":
        return loose.values == ("false",)
    if loose.operator not in ("StringNotEquals", "StringNotLike"):
        return False
    excluded = [_literal(loose, value) for value in loose.values]
    return _all_disjoint([_literal(strict, value) for value in strict.values], excluded)


def _all_disjoint(some: list[str], others: list[str]) -> bool:
    """Return whether no text matches a pattern of both; one that is known only at deployment or request may."""
    if any("${" in value or TOKEN.search(value) for value in (*some, *others)):
        return False
    return all(disjoint(one, other) for one in some for other in others)


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
    exact = clause.operator in ("StringEquals", "StringNotEquals")
    return value.replace("*", "\ue001").replace("?", "\ue002") if exact else value


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
