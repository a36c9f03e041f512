"""Evaluate condition blocks of IAM policies (IAM user guide, "IAM JSON policy elements: Condition operators")."""

# pyright: reportUnknownVariableType=false
# (policies are JSON)

import datetime as dt
import functools
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from local_aws.emulator.iam.context_keys import is_known

Context = Mapping[str, str | tuple[str, ...]]  # keys in lower case; a tuple holds the values of a multivalued key


class UnsupportedConditionError(Exception):
    """The embedded AWS does not evaluate this operator or key; callers must deny access."""


def matches(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    """Return whether `value` matches `pattern`, where `*` matches anything and `?` one character."""
    return _compiled(pattern, re.DOTALL | (re.IGNORECASE if ignore_case else 0)).fullmatch(value) is not None


@functools.lru_cache(8192)  # the deployed roles' policies have more patterns than re remembers
def _compiled(pattern: str, flags: int) -> re.Pattern[str]:
    expression = _unescape(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), prefix="\\")
    return re.compile(expression, flags)


# Where a policy variable yields these characters, they are no wildcards; until the comparison, others stand for them.
_LITERAL = {"*": "\ue02a", "?": "\ue03f"}


def _escape(text: str) -> str:
    return text.translate(str.maketrans(_LITERAL))


def _unescape(text: str, prefix: str = "") -> str:
    return text.translate(str.maketrans({escape: prefix + character for character, escape in _LITERAL.items()}))


def _arn_matches(pattern: str, value: str) -> bool:
    """Compare ARNs: each of the six parts that colons separate matches on its own."""
    patterns, parts = pattern.split(":", 5), value.split(":", 5)
    return len(patterns) == len(parts) == 6 and all(map(matches, patterns, parts))


def _date(text: str) -> float:
    """Return a date (ISO 8601 or seconds since 1970) as seconds since 1970."""
    if re.fullmatch(r"\d+(\.\d+)?", text) and len(text) > 4:
        return float(text)
    found = dt.datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).timestamp()


def _in_network(network: str, address: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": matches,
    "ArnEquals": _arn_matches,
    "ArnLike": _arn_matches,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "IpAddress": _in_network,
    **{
        f"{kind}{name}": lambda wanted, value, read=read, compare=compare: compare(read(value), read(wanted))
        for kind, read in (("Numeric", float), ("Date", _date))
        for name, compare in (
            ("Equals", float.__eq__),
            ("LessThan", float.__lt__),
            ("LessThanEquals", float.__le__),
            ("GreaterThan", float.__gt__),
            ("GreaterThanEquals", float.__ge__),
        )
    },
}
_NEGATED: Mapping[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
}


def conditions_hold(block: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Return whether every condition of the block is true in `context`.

    Raise UnsupportedConditionError for an operator or a key that the embedded AWS does not know: a key that it never
    supplies would make `IfExists`, `Null` and negated conditions true.
    """
    return all(
        _holds(operator, key.lower(), context, wanted)
        for operator, tests in block.items()
        for key, wanted in tests.items()
    )


def substitute(text: str, context: Context) -> str | None:
    """Replace policy variables such as `${aws:PrincipalArn}`; None if one has neither a value nor a default.

    The result is for `matches`: wildcards in a variable's value match only themselves.
    """
    missing: list[str] = []

    def value(found: re.Match[str]) -> str:
        name, _, default = found[1].partition(",")
        if name in ("*", "?", "$"):
            return _escape(name)
        held = context.get(name.strip().lower())
        if isinstance(held, str):
            return _escape(held)
        if not default:
            missing.append(name)
        return default.strip().strip("'")

    replaced = re.sub(r"\$\{([^}]+)\}", value, text)
    return None if missing else replaced


def _holds(operator: str, key: str, context: Context, wanted: Any) -> bool:
    quantifier, _, name = operator.rpartition(":")
    if_exists, name = name.endswith("IfExists"), name.removesuffix("IfExists")
    value = context.get(key)
    if value is None and not is_known(key):
        raise UnsupportedConditionError(f"condition key {key} is not supported by the embedded AWS")
    found = () if value is None else (value,) if isinstance(value, str) else value
    texts = [_text(item) for item in (wanted if isinstance(wanted, list) else [wanted])]
    if name == "Null":
        return (not found) == (texts[0].lower() == "true")
    negated, compare = name in _NEGATED, _OPERATORS.get(_NEGATED.get(name, name))
    if compare is None or (len(found) > 1 and not quantifier):
        raise UnsupportedConditionError(f"condition operator {operator} is not supported by the embedded AWS for {key}")
    if not found:
        return if_exists or quantifier == "ForAllValues" or (negated and not quantifier)
    patterns = [item for item in (substitute(text, context) for text in texts) if item is not None]
    results = [any(_compare(compare, item, one) for item in patterns) != negated for one in found]
    return all(results) if quantifier == "ForAllValues" else any(results)


def _compare(compare: Callable[[str, str], bool], wanted: str, value: str) -> bool:
    try:
        return compare(wanted if compare in (matches, _arn_matches) else _unescape(wanted), value)
    except ValueError:  # not a number, date or address
        return False


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
