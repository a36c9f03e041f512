"""How one setting is declared, parsed from CDK context and checked."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it, what is allowed and the value."""


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """Return ` (did you mean a, b?)` for the names closest to `value`, or an empty string."""
    matches = get_close_matches(value, list(known), n=3)
    return f" (did you mean {', '.join(matches)}?)" if matches else ""


@dataclass(frozen=True)
class Rule:
    """The allowed values, in words and as a predicate."""

    allowed: str
    accepts: Callable[[Any], bool]


@dataclass(frozen=True)
class Setting:
    """The documentation and rule of a field of Config."""

    doc: str
    rule: Rule

    def check(self, name: str, value: Any) -> None:
        """Raise ConfigError unless the rule accepts `value`."""
        if not self.rule.accepts(value):
            raise ConfigError(f"{name} must be {self.rule.allowed}, got {_shown(value)}")


def setting(default: Any, doc: str, rule: Rule) -> Any:
    """Declare a dataclass field with its documentation and rule."""
    return field(default=default, metadata={"setting": Setting(doc, rule)})


def between(low: int, high: int) -> Rule:
    """Accept integers from `low` to `high`, both included."""
    return Rule(f"{low} to {high}", lambda value: low <= value <= high)


def auto_or(rule: Rule) -> Rule:
    """Accept None, written `auto`, for a value that follows from other settings, or what `rule` accepts."""
    return Rule(f"auto, or {rule.allowed}", lambda value: value is None or rule.accepts(value))


def one_of(*values: Any) -> Rule:
    """Accept any of `values`."""
    return Rule(" or ".join(map(str, values)), lambda value: value in values)


def matches(pattern: str, allowed: str) -> Rule:
    """Accept a string, or a tuple of strings, that match the whole pattern."""
    fits = re.compile(pattern).fullmatch

    def accepts(value: str | tuple[str, ...]) -> bool:
        return all(fits(item) for item in ((value,) if isinstance(value, str) else value))

    return Rule(allowed, accepts)


def parse(name: str, raw: object, *, like: object) -> int | str | tuple[str, ...] | None:
    """Convert `raw`, a string from the command line or JSON from cdk.json, to the type of `like`.

    That is int, str, tuple of str, or for None an int or, for `auto`, None. Raises ConfigError if `raw` cannot be
    converted.
    """
    if like is None and raw == "auto":
        return None
    if like is None or isinstance(like, int):
        if isinstance(raw, bool) or not re.fullmatch(r"-?\d{1,9}", str(raw)):
            auto = " or auto" if like is None else ""
            raise ConfigError(f"{name} must be a whole number{auto}, got {_shown(raw)}")
        return int(str(raw))
    if isinstance(like, str):
        return _text(name, raw)
    items = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(items, list):
        raise ConfigError(f"{name} must be a list of strings, or one string with commas, got {_shown(raw)}")
    texts = [_text(name, item).strip() for item in cast(list[object], items)]
    return tuple(text for text in texts if text)


def _text(name: str, raw: object) -> str:
    if not isinstance(raw, str):
        raise ConfigError(f"{name} must be a string, got {_shown(raw)}")
    return raw


def _shown(value: object) -> str:
    return repr(list(cast(tuple[object, ...], value)) if isinstance(value, tuple) else value)
