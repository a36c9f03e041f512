"""The form's fields, from the schema of requests, and the request of what was entered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from musicgen_client.errors import InvalidRequest
from musicgen_client.requests import MAX_TEXTS, Request

# Not on the page: what other fields say (the prompt, its clips, the length in tokens), what it always asks for
# (progress), and what it has no use for (tokens, another bucket, how files are written: it shows 16-bit WAV), or no
# widget (sections, loops, audio).
_OMITTED = (
    "texts", "unconditional_clips", "max_new_tokens", "progress", "return_tokens", "bucket_name",
    "format", "normalization", "fade_in", "fade_out", "trim_tail", "tags", "sections", "n", "loop", "bpm", "bars",
    "continuation", "melody",
)  # fmt: skip
_LENGTH = 10.0  # seconds; the schema has no default for the duration
_MAX_DIGITS = 20  # of a number that was typed
_LABELS = {"top_k": "top-k", "top_p": "top-p"}


@dataclass(frozen=True)
class Field:
    """A parameter of the request. `kind` is text, number, integer or boolean."""

    name: str
    kind: str
    explanation: str
    minimum: float | None = None
    maximum: float | None = None
    default: Any = None  # the endpoint's; None if the field may be empty

    @property
    def label(self) -> str:
        """The name for people."""
        return _LABELS.get(self.name, self.name.replace("_", " "))

    @property
    def initial(self) -> Any:
        """What the form has at first."""
        return _LENGTH if self.name == "duration" else self.default

    @property
    def step(self) -> float:
        """A slider's step, such that its range begins at a multiple of it."""
        if self.kind == "integer":
            return 1
        return self.minimum if self.minimum and self.minimum < 1 else 0.1

    @property
    def optional(self) -> bool:
        """Whether the field may be left empty."""
        return self.initial is None


def schema() -> dict[str, Any]:
    """Return this client's copy of docs/request.schema.json."""
    return json.loads(resources.files("musicgen_client").joinpath("request.schema.json").read_text(encoding="utf-8"))


def fields() -> list[Field]:
    """Return the parameters in the order of the schema, with the length first."""
    properties: dict[str, Any] = schema()["properties"]
    parameters: dict[str, Any] = properties.pop("generation_params")["properties"]
    found = [_field(name, rule) for name, rule in {**parameters, **properties}.items() if name not in _OMITTED]
    return sorted(found, key=lambda field: field.name != "duration")


def _field(name: str, rule: Mapping[str, Any]) -> Field:
    kind: str = "text" if "$ref" in rule or rule["type"] == "string" else rule["type"]
    return Field(name, kind, rule["description"], rule.get("minimum"), rule.get("maximum"), rule.get("default"))


def read(prompt: str | None, count: float, values: Mapping[str, Any]) -> Request:
    """Return the request for `count` variations of a prompt; InvalidRequest as the container would say it.

    A value that is the endpoint's default, or empty, is left out of the request.
    """
    if not 1 <= count <= MAX_TEXTS or count != int(count):
        raise InvalidRequest(f"variations must be an integer from 1 to {MAX_TEXTS}, got {count:g}")
    parameters: dict[str, Any] = {}
    for field in fields():
        value = values.get(field.name)
        if field.kind in ("integer", "number"):
            value = _number(value, field.kind)
        if value is not None and value != "" and value != field.default:
            parameters[field.name] = value
    return Request(texts=((prompt or "").strip(),) * int(count), progress=True, **parameters).seeded()


def _number(value: object, kind: str) -> object:
    """Return the number that a browser means, else the value itself, which Request refuses."""
    if isinstance(value, str) and len(value) <= _MAX_DIGITS:
        try:
            value = float(value)
        except ValueError:
            return value.strip()
    return int(value) if kind == "integer" and isinstance(value, float) and value.is_integer() else value


def entered(request: Request) -> tuple[str, int, dict[str, Any]]:
    """Return the prompt, the number of clips and the values with which the form makes a request again."""
    values = {field.name: getattr(request, field.name) for field in fields()}
    given = {field.name: field.default if values[field.name] is None else values[field.name] for field in fields()}
    if request.duration is None:  # of a request by tokens, or without a length; the endpoint's default is 256
        given["duration"] = round(((request.max_new_tokens or 256) - 3) / 50, 2)
    return (request.texts[0] if request.texts else ""), request.clips, given
