"""Check single values of a request's body: each error names the field, what is allowed and what it got."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from musicgen_serving.http.errors import InvalidRequestError

MAX_CHARACTERS = 1000


def parse_object(field: str, value: object, allowed: tuple[str, ...]) -> Mapping[str, object]:
    """Return the value as an object that has allowed fields only."""
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{field} must be an object, got {shown(value)}")
    fields = cast("dict[str, object]", value)
    for name in fields:
        if name not in allowed:
            raise InvalidRequestError(f"{field} must have no field but {', '.join(allowed)}, got {shown(name)}")
    return fields


def parse_boolean(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{field} must be true or false, got {shown(value)}")
    return value


def parse_text(field: str, text: object) -> str:
    allowed = f"{field} must be a string of 1 to {MAX_CHARACTERS} characters"
    if not isinstance(text, str):
        raise InvalidRequestError(f"{allowed}, got {shown(text)}")
    if not 1 <= len(text) <= MAX_CHARACTERS:
        raise InvalidRequestError(f"{allowed}, got {len(text)} characters")
    if not re.search(r"\S", text):
        raise InvalidRequestError(f"{allowed}, not all of them white space, got {shown(text)}")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise InvalidRequestError(f"{allowed} without lone surrogates, got {shown(text)}")
    return text


@dataclass(frozen=True)
class Range:
    """The allowed values of a numeric field, from `low` to `high`."""

    low: float
    high: float
    integer: bool = False

    def parse(self, field: str, value: object) -> float:
        """Return the value as its field's type; like JSON Schema, accept 256.0 as an integer."""
        if isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high:
            number = int(value) if self.integer else float(value)
            if number == value:
                return number
        kind = "an integer" if self.integer else "a number"
        raise InvalidRequestError(f"{field} must be {kind} from {self.low} to {self.high}, got {shown(value)}")


def shown(value: object) -> str:
    """Return a value as JSON on one short line: containers by kind and size, text cut at 60 characters."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(cast('list[object]', value))} items"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "…"
