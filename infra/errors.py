"""What a configuration that cannot be deployed raises, and the wording that all refusals share."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it, the value got and what is allowed."""


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """` (did you mean a, b?)` for the names closest to `value`, or nothing when none is close."""
    matches = get_close_matches(value, list(known), n=3)
    return f" (did you mean {', '.join(matches)}?)" if matches else ""
