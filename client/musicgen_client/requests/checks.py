"""Check single values of a request, with the sentences of the container."""

import json
import re
from dataclasses import is_dataclass
from typing import Any, cast

from musicgen_client.errors import InvalidRequest

MAX_CHARACTERS = 1000


def check_text(field: str, text: object) -> None:
    """Raise InvalidRequest unless a value is a text that the model may be given."""
    allowed = f"{field} must be a string of 1 to {MAX_CHARACTERS} characters"
    if not isinstance(text, str):
        raise InvalidRequest(f"{allowed}, got {shown(text)}")
    if not 1 <= len(text) <= MAX_CHARACTERS:
        raise InvalidRequest(f"{allowed}, got {len(text)} characters")
    if not re.search(r"\S", text):
        raise InvalidRequest(f"{allowed}, not all of them white space, got {shown(text)}")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise InvalidRequest(f"{allowed} without lone surrogates, got {shown(text)}")


def check_number(field: str, value: object, low: float, high: float, integer: bool) -> None:
    """Raise InvalidRequest unless a value is a number from `low` to `high`, and an integer if `integer`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number = cast("float", value)
    if is_number and low <= number <= high and (not integer or int(number) == number):
        return
    kind = "an integer" if integer else "a number"
    raise InvalidRequest(f"{field} must be {kind} from {low} to {high}, got {shown(value)}")


def read_object(field: str, value: object, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Return a copy of an object that has allowed fields only, each with a value; else raise InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{field} must be an object, got {shown(value)}")
    given = cast("dict[str, Any]", value)
    for name in given:
        if name not in allowed:
            raise InvalidRequest(f"{field} must have no field but {', '.join(allowed)}, got {shown(name)}")
        if given[name] is None:
            raise InvalidRequest(f"{field} must have a value for {name} or not have it, got null")
    return dict(given)


def shown(value: object) -> str:
    """Return a value as JSON on one short line, as the container's messages do."""
    if isinstance(value, dict) or is_dataclass(value):
        return "an object"
    if isinstance(value, list | tuple):
        return f"an array of {len(cast('list[object]', value))} items"
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:60] + "…"
