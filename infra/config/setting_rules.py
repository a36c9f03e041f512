"""How one setting is declared, parsed from CDK context and checked."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

# A token of the Hugging Face Hub, an AWS access key, or a user and password in a URL.
_SECRETS = re.compile(r"\bhf_\w{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|(?<=://)[^/@\s]+(?=@)")


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it, what is allowed and the value, with secrets as ***."""

    def __init__(self, message: str) -> None:
        super().__init__(_SECRETS.sub("***", message))


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """Return ` (did you mean a, b?)` for the names closest to `value`, or an empty string."""
    matches = get_close_matches(value, list(known), n=3)
    return f" (did you mean {', '.join(matches)}?)" if matches else ""


@dataclass(frozen=True)
class Rule:
    """The allowed values, in words and as a predicate; `why_not` may add a reason for a value that is refused."""

    allowed: str
    accepts: Callable[[Any], bool]
    why_not: Callable[[Any], str] = lambda _: ""


@dataclass(frozen=True)
class Setting:
    """The documentation and rule of a field of Config.

    `heading` starts a group of settings; `secret` is for one where users are known to put a token by mistake.
    """

    doc: str
    rule: Rule
    heading: str = ""
    secret: bool = False

    def check(self, name: str, value: Any) -> None:
        """Raise ConfigError unless the rule accepts `value`."""
        if not self.rule.accepts(value):
            reason = self.rule.why_not(value)
            because = f": {reason}" if reason else ""
            raise ConfigError(f"{name} must be {self.rule.allowed}, got {shown(value, secret=self.secret)}{because}")


def setting(default: Any, doc: str, rule: Rule, *, heading: str = "", secret: bool = False) -> Any:
    """Declare a dataclass field with its documentation and rule."""
    return field(default=default, metadata={"setting": Setting(doc, rule, heading, secret)})


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
    """Accept a string that matches the whole pattern."""
    fits = re.compile(pattern).fullmatch
    return Rule(allowed, lambda value: fits(value) is not None)


def several(rule: Rule, *, same: Callable[[str], str] = str) -> Rule:
    """Accept a tuple of different strings that `rule` accepts; `same` maps those that count as one to one value."""

    def why_not(values: tuple[str, ...]) -> str:
        wrong = [value for value in values if not rule.accepts(value)]
        keys = [same(value) for value in values]
        twice = [value for value, key in zip(values, keys, strict=True) if keys.count(key) > 1]
        if wrong:
            reason = rule.why_not(wrong[0])
            return f"not {shown(wrong[0])}" + (f": {reason}" if reason else "")
        return f"{' and '.join(dict.fromkeys(map(shown, twice)))} must be given once" if twice else ""

    return Rule(rule.allowed, lambda values: not why_not(values), why_not)


def parse(name: str, raw: object, *, like: object, secret: bool = False) -> int | str | tuple[str, ...] | None:
    """Convert `raw`, a string from the command line or JSON from cdk.json, to the type of `like`.

    That is int, str, tuple of str, or for None an int or, for `auto`, None. An object becomes a tuple of `key=value`.
    Raises ConfigError if `raw` cannot be converted.
    """
    if like is None and raw == "auto":
        return None
    if like is None or isinstance(like, int):
        if isinstance(raw, bool) or not re.fullmatch(r"-?[0-9]{1,9}", str(raw)):
            auto = " or auto" if like is None else ""
            raise ConfigError(f"{name} must be a whole number{auto}, got {shown(raw, secret=secret)}")
        return int(str(raw))
    if isinstance(like, str):
        return _text(name, raw, secret=secret)
    items = _list(name, raw)
    texts = [_text(name, item, secret=secret).strip() for item in items]
    return tuple(text for text in texts if text)


def shown(value: object, *, secret: bool = False) -> str:
    """Return a value as it may be printed, of bounded length; nothing of it if the setting is `secret`."""
    if secret and isinstance(value, str):
        return f"a value of {len(value)} characters, not shown here because it may be a token"
    text = repr(list(cast(tuple[object, ...], value)) if isinstance(value, tuple) else value)
    return text if len(text) <= 300 else text[:300] + "…"


def _list(name: str, raw: object) -> list[object]:
    """Return the items of a list, of an object as `key=value`, or of a string with commas or with such an object."""
    if isinstance(raw, str) and raw.lstrip().startswith("{"):
        try:
            raw = json.loads(raw)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{name} must be valid JSON where it starts with {{, got {shown(raw)}") from error
    if isinstance(raw, str):
        return list(raw.split(","))
    if isinstance(raw, Mapping):
        pairs = cast(Mapping[object, object], raw)
        if wrong := [key for key, value in pairs.items() if not isinstance(value, str) or "=" in str(key)]:
            raise ConfigError(f"{name} must have strings as values and no = in keys, got {shown(wrong[0])}")
        return [f"{key}={value}" for key, value in pairs.items()]
    if not isinstance(raw, list):
        raise ConfigError(f"{name} must be a list of strings, or one string with commas, got {shown(raw)}")
    return cast(list[object], raw)


def _text(name: str, raw: object, *, secret: bool) -> str:
    if not isinstance(raw, str):
        raise ConfigError(f"{name} must be a string, got {shown(raw, secret=secret)}")
    return raw
