"""How one setting is declared, parsed from CDK context and checked."""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any, cast

from infra.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """What values are allowed, in words and as a test."""

    allowed: str
    accepts: Callable[[Any], bool]


@dataclass(frozen=True)
class Setting:
    """What a field of Config carries beside its type and default."""

    doc: str
    rule: Rule

    def check(self, name: str, value: Any) -> None:
        """ConfigError naming the field, what is allowed and the value, unless the rule accepts it."""
        if not self.rule.accepts(value):
            raise ConfigError(f"{name} must be {self.rule.allowed}, got {_shown(value)}")


def setting(default: Any, doc: str, rule: Rule) -> Any:
    """A dataclass field with its documentation and the rule that its value must keep."""
    return field(default=default, metadata={"setting": Setting(doc, rule)})


def between(low: int, high: int) -> Rule:
    """A whole number within both bounds."""
    return Rule(f"{low} to {high}", lambda value: low <= value <= high)


def one_of(*values: Any) -> Rule:
    """One of a few values."""
    allowed: Container[Any] = values
    return Rule(" or ".join(map(str, values)), lambda value: value in allowed)


def matches(pattern: str, allowed: str) -> Rule:
    """A string, or every string of a list, that fits the whole pattern."""
    fits = re.compile(pattern).fullmatch

    def accepts(value: str | tuple[str, ...]) -> bool:
        return all(fits(item) for item in ((value,) if isinstance(value, str) else value))

    return Rule(allowed, accepts)


def parse(name: str, raw: object, *, like: object) -> int | str | tuple[str, ...]:
    """`raw`, a string from the command line or JSON from cdk.json, as the type of `like`: int, str or tuple of str."""
    if isinstance(like, int):
        return _whole_number(name, raw)
    return _texts(name, raw) if isinstance(like, tuple) else _text(name, raw)


def _whole_number(name: str, raw: object) -> int:
    if isinstance(raw, bool) or not re.fullmatch(r"-?\d{1,9}", str(raw)):
        raise ConfigError(f"{name} must be a whole number, got {_shown(raw)}")
    return int(str(raw))


def _text(name: str, raw: object) -> str:
    if not isinstance(raw, str):
        raise ConfigError(f"{name} must be a string, got {_shown(raw)}")
    return raw


def _texts(name: str, raw: object) -> tuple[str, ...]:
    items = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(items, list):
        raise ConfigError(f"{name} must be a list of strings, or one string with commas, got {_shown(raw)}")
    texts = [_text(name, item).strip() for item in cast(list[object], items)]
    return tuple(text for text in texts if text)


def _shown(value: object) -> str:
    return repr(list(cast(tuple[object, ...], value)) if isinstance(value, tuple) else value)
