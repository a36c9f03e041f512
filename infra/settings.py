"""How one setting is declared, parsed from CDK context and checked."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.errors import ConfigError

type_of_check = Callable[[str, Any], None]


@dataclass(frozen=True)
class Setting:
    """What a Config field carries beside its default: its documentation and its check."""

    doc: str
    allowed: str
    check: type_of_check


def setting(default: Any, doc: str, rule: "Rule") -> Any:
    """A dataclass field with documentation and a rule that its value must keep."""
    metadata = {"setting": Setting(doc, rule.allowed, rule.check)}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Rule:
    """What values are allowed, in words and as a test."""

    allowed: str
    accepts: Callable[[Any], bool]

    def check(self, name: str, value: Any) -> None:
        """ConfigError naming the field, what is allowed and the value, unless the rule accepts it."""
        if not self.accepts(value):
            raise ConfigError(f"{name} must be {self.allowed}, got {value!r}")


def between(low: int, high: int) -> Rule:
    """A whole number within both bounds."""
    return Rule(f"{low} to {high}", lambda value: low <= value <= high)


def one_of(*allowed: str) -> Rule:
    """One of a few words."""
    return Rule(" or ".join(allowed), lambda value: value in allowed)


def matches(pattern: str, allowed: str) -> Rule:
    """A string, or each string of a list, that fits the whole pattern."""
    fits = re.compile(pattern).fullmatch

    def accepts(value: Any) -> bool:
        return all(fits(item) for item in ([value] if isinstance(value, str) else value))

    return Rule(allowed, accepts)


def parse(name: str, raw: Any, default: Any) -> Any:
    """`raw`, a string from the command line or JSON from cdk.json, as the type of the field's default."""
    for kind, parser in _PARSERS:
        if isinstance(default, kind):
            return parser(name, raw)
    raise TypeError(f"no parser for the type of {name}, {type(default).__name__}")


def _whole_number(name: str, raw: Any) -> int:
    text = raw if isinstance(raw, str) else str(raw)
    if isinstance(raw, bool) or not re.fullmatch(r"-?\d{1,9}", text):
        raise ConfigError(f"{name} must be a whole number, got {raw!r}")
    return int(text)


def _text(name: str, raw: Any) -> str:
    if not isinstance(raw, str):
        raise ConfigError(f"{name} must be a string, got {raw!r}")
    return raw


def _texts(name: str, raw: Any) -> tuple[str, ...]:
    items = [item.strip() for item in raw.split(",")] if isinstance(raw, str) else raw
    if not isinstance(items, list | tuple):
        raise ConfigError(f"{name} must be a list of strings or a string with commas, got {raw!r}")
    return tuple(_text(name, item) for item in items if item != "")


def _mapping(name: str, raw: Any) -> dict[str, str]:
    if isinstance(raw, str):
        raw = dict(_pair(name, item) for item in _texts(name, raw))
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{name} must be an object or key=value pairs with commas, got {raw!r}")
    return {_text(name, key): _text(name, value) for key, value in raw.items()}


def _pair(name: str, item: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals:
        raise ConfigError(f"{name} must be key=value pairs with commas, got {item!r}")
    return key, value


_PARSERS: list[tuple[type, Callable[[str, Any], Any]]] = [
    (int, _whole_number),
    (str, _text),
    (tuple, _texts),
    (dict, _mapping),
]
