"""The form's fields, from the schema of requests, and the request of what was entered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from musicgen_client.errors import InvalidRequest
from musicgen_client.requests.request import MAX_TEXTS, Request
from musicgen_client.ui import parts

# Not among the fields: what other inputs say (the prompt, its clips, the length in tokens, `parts`) and progress, which
# the page always asks for.
_ELSEWHERE = (
    "texts", "unconditional_clips", "max_new_tokens", "progress", "n", "sections", "loop", "bpm", "bars",
    "continuation", "melody",
)  # fmt: skip
# What the page has no use for: tokens, another bucket, how files are written, as it shows 16-bit WAV.
_ABSENT = ("return_tokens", "bucket_name", "format", "tags")
_LENGTH = 10.0  # seconds; the schema has no default for the duration
_LABELS = {"top_k": "top-k", "top_p": "top-p"}


@dataclass(frozen=True)
class Field:
    """A parameter of the request. `kind` is text, choice, number, integer or boolean."""

    name: str
    kind: str
    explanation: str
    minimum: float | None = None
    maximum: float | None = None
    default: Any = None  # the endpoint's; None if the field may be empty
    choices: tuple[str, ...] = ()

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
    others = (*_ELSEWHERE, *_ABSENT)
    found = [_field(name, rule) for name, rule in {**parameters, **properties}.items() if name not in others]
    return sorted(found, key=lambda field: field.name != "duration")


def _field(name: str, rule: Mapping[str, Any]) -> Field:
    kind: str = "choice" if "enum" in rule else "text" if "$ref" in rule or rule["type"] == "string" else rule["type"]
    limits = rule.get("minimum"), rule.get("maximum"), rule.get("default")
    return Field(name, kind, rule["description"], *limits, tuple(rule.get("enum", ())))


def read(prompt: str | None, count: float, values: Mapping[str, Any]) -> Request:
    """Return the request for `count` variations of a prompt, or of sections; InvalidRequest as the container says it.

    `values` are those of the fields and of `parts`. One that is the endpoint's default, or empty, is left out of the
    request, and so are the prompt and the duration where sections or a loop say them.
    """
    if not 1 <= count <= MAX_TEXTS or count != int(count):
        raise InvalidRequest(f"variations must be an integer from 1 to {MAX_TEXTS}, got {count:g}")
    parameters = parts.read(values)
    for field in fields():
        value = values.get(field.name)
        if field.kind in ("integer", "number"):
            value = parts.number(value)
        if value is not None and value != "" and value != field.default:
            parameters[field.name] = value
    if "sections" in parameters or "loop" in parameters:
        parameters.pop("duration", None)
    if "sections" in parameters:
        parameters["n"] = int(count) if count > 1 else None
    else:
        parameters["texts"] = ((prompt or "").strip(),) * int(count)
    return Request(progress=True, **parameters).seeded()


@dataclass(frozen=True)
class Entered:
    """What the form makes an earlier request of again. `remarks` say what it has no field, or no audio, for."""

    prompt: str
    count: int
    values: dict[str, Any]
    remarks: tuple[str, ...] = ()


def entered(body: Mapping[str, Any], folder: Path) -> Entered:
    """Return what was entered for a request's JSON object; audio in base64 is written to a file in `folder`."""
    lost = parts.lost(body)
    request = Request.from_body({name: value for name, value in body.items() if name not in lost})
    given = {field.name: getattr(request, field.name) for field in fields()}
    values = {field.name: field.default if given[field.name] is None else given[field.name] for field in fields()}
    if request.sections or request.loop:
        values["duration"] = _LENGTH
    elif request.duration is None:  # of a request by tokens, or without a length; the endpoint's default is 256
        values["duration"] = round(((request.max_new_tokens or 256) - 3) / 50, 2)
    prompt = request.texts[0] if request.texts else ""
    remarks = [
        f"The audio of \u201c{parts.AUDIO[kind]}\u201d is not in this machine's journal: choose it again."
        for kind in lost
    ]  # fmt: skip
    if without := _without(request):
        remarks.append(f"This page has no field for {', '.join(without)}: a new request goes without.")
    count = request.texts.count(prompt) * (request.n or 1) if request.texts else request.clips
    return Entered(prompt, count, values | parts.entered(body, folder), tuple(remarks))


def _without(request: Request) -> list[str]:
    """Return what the page cannot ask for again."""
    found = ["clips without a text"] if request.unconditional_clips else []
    if others := len(set(request.texts)) - 1 if request.texts else 0:
        found.append(f"{others} more {'text' if others == 1 else 'texts'}")
    for name in _ABSENT:
        value = getattr(request, name)
        if value and (name, value) != ("format", "wav"):
            found.append(name.replace("_", " ") + ("" if value is True else f" {value}"))
    return found
