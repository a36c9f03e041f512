"""Evaluate condition blocks of IAM policies (IAM user guide, "IAM JSON policy elements: Condition operators")."""

# pyright: reportUnknownVariableType=false
# (policies are JSON)

import re
from collections.abc import Callable, Mapping
from typing import Any

Context = Mapping[str, str]


class UnsupportedConditionError(Exception):
    """The embedded AWS does not evaluate this operator; callers must deny access."""


def matches(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    """Return whether `value` matches `pattern`, where `*` matches anything and `?` one character."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, value, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": matches,
    "ArnEquals": matches,
    "ArnLike": matches,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "NumericEquals": lambda wanted, value: float(value) == float(wanted),
    "NumericLessThan": lambda wanted, value: float(value) < float(wanted),
    "NumericLessThanEquals": lambda wanted, value: float(value) <= float(wanted),
    "NumericGreaterThan": lambda wanted, value: float(value) > float(wanted),
    "NumericGreaterThanEquals": lambda wanted, value: float(value) >= float(wanted),
}
_NEGATED: Mapping[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
}


def conditions_hold(block: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Return whether every condition of the block is true in `context` (keys in lower case)."""
    return all(
        _holds(operator, context.get(key.lower()), wanted)
        for operator, tests in block.items()
        for key, wanted in tests.items()
    )


def _holds(operator: str, value: str | None, wanted: Any) -> bool:
    # For single-valued keys the set operators differ only if the key is absent.
    quantifier, _, name = operator.rpartition(":")
    if_exists, name = name.endswith("IfExists"), name.removesuffix("IfExists")
    values = [_text(item) for item in (wanted if isinstance(wanted, list) else [wanted])]
    if name == "Null":
        return (value is None) == (values[0] == "true")
    negated, compare = name in _NEGATED, _OPERATORS.get(_NEGATED.get(name, name))
    if compare is None:
        raise UnsupportedConditionError(f"condition operator {operator} is not supported by the embedded AWS")
    if value is None:
        return negated or if_exists or quantifier == "ForAllValues"
    return any(compare(item, value) for item in values) != negated


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
