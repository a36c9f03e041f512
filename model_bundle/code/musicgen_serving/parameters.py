"""`generation_params`: names, types and ranges, as in docs/request.schema.json."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from musicgen_serving.engine.sampling_params import (
    DELAY_TOKENS,
    FRAMES_PER_SECOND,
    MAX_NEW_TOKENS,
    SamplingParams,
)
from musicgen_serving.errors import InvalidRequestError


@dataclass(frozen=True, kw_only=True)
class GenerationParams(SamplingParams):
    """A request's sampling parameters; `seed` of None means: derive it from the inference id."""

    seed: int | None = None


def shown(value: object) -> str:
    """A value as a client wrote it, on one short line: containers by kind and size, text cut at 60 characters."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(cast('list[object]', value))} items"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "…"


def integer(field: str, low: int, high: int) -> Callable[[object], int]:
    """A check for an integer from `low` to `high`; like JSON Schema it takes 256.0 for 256."""

    def check(value: object) -> int:
        sound = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        if not sound or int(cast("float", value)) != value:
            raise InvalidRequestError(f"{field} must be an integer from {low} to {high}, got {shown(value)}")
        return int(cast("float", value))

    return check


def number(field: str, low: float, high: float, *, above: bool = False) -> Callable[[object], float]:
    """A check for a finite number from `low` (or above it) to `high`."""
    allowed = f"a number above {low:g}, up to {high:g}" if above else f"a number from {low:g} to {high:g}"

    def check(value: object) -> float:
        sound = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        if not sound or (above and value == low):
            raise InvalidRequestError(f"{field} must be {allowed}, got {shown(value)}")
        return float(cast("float", value))

    return check


def boolean(field: str) -> Callable[[object], bool]:
    """A check for true or false."""

    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise InvalidRequestError(f"{field} must be true or false, got {shown(value)}")
        return value

    return check


_CHECKS: dict[str, Callable[[object], object]] = {
    "max_new_tokens": integer("generation_params.max_new_tokens", DELAY_TOKENS + 1, MAX_NEW_TOKENS),
    "duration": number("generation_params.duration", 0.02, 30),
    "guidance_scale": number("generation_params.guidance_scale", 1, 20),
    "do_sample": boolean("generation_params.do_sample"),
    "temperature": number("generation_params.temperature", 0, 5, above=True),
    "top_k": integer("generation_params.top_k", 0, 2048),
    "top_p": number("generation_params.top_p", 0, 1, above=True),
    "seed": integer("generation_params.seed", 0, 2**32 - 1),
}


def as_object(field: str, value: object, allowed: tuple[str, ...]) -> Mapping[str, object]:
    """The value as an object that has none but the allowed fields."""
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{field} must be an object, got {shown(value)}")
    fields = cast("dict[str, object]", value)
    for name in fields:
        if name not in allowed:
            raise InvalidRequestError(f"{field} must have no field but {', '.join(allowed)}, got {shown(name)}")
    return fields


def parse_params(value: object) -> GenerationParams:
    """Check `generation_params`; InvalidRequestError names the field, its value and what is allowed."""
    fields = as_object("generation_params", value, tuple(_CHECKS))
    if "duration" in fields and "max_new_tokens" in fields:
        raise InvalidRequestError("generation_params must have one of duration and max_new_tokens, got both")
    checked = {name: _CHECKS[name](item) for name, item in fields.items()}
    if "duration" in checked:
        seconds = cast("float", checked.pop("duration"))
        checked["max_new_tokens"] = max(1, round(seconds * FRAMES_PER_SECOND)) + DELAY_TOKENS
    return GenerationParams(**checked)  # pyright: ignore[reportArgumentType]  # each check returns its field's type
