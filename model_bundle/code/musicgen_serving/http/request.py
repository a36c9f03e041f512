"""Parse and validate a request's headers and JSON body (docs/api.md; docs/request.schema.json)."""

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from musicgen_serving.audio_output import FORMATS, MAX_FADE_SECONDS, NORMALIZATIONS, AudioOutput, writable_formats
from musicgen_serving.engine.sampling_params import (
    DELAY_TOKENS,
    FRAMES_PER_SECOND,
    MAX_NEW_TOKENS,
    MIN_TEMPERATURE,
    MIN_TOP_P,
    ClipSpec,
    SamplingParams,
)
from musicgen_serving.http.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    MalformedBodyError,
    NotAcceptableError,
    UnsupportedContentTypeError,
)

INFERENCE_ID_HEADER = "X-Amzn-SageMaker-Inference-Id"
JSON = "application/json"
WAV = "audio/wav"
MAX_JSON_BYTES = 1024 * 1024  # 16 texts of 1000 characters, each escaped to 12 bytes, are 192,000
MAX_TEXTS = 16
MAX_CHARACTERS = 1000
_FIELDS = (
    "texts", "unconditional_clips", "negative_prompt", "bucket_name", "generation_params", "return_tokens", "progress",
    "format", "normalization", "fade_in", "fade_out", "trim_tail", "tags",
)  # fmt: skip
# What a client sends that names no type: the SageMaker SDK's AsyncPredictor, and S3 for an object uploaded without one.
_UNNAMED = ("", "application/octet-stream", "binary/octet-stream")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


@dataclass(frozen=True)
class RequestContext:
    """What a request's headers and connection say: the response's content type, the id, and a check for disconnects."""

    accept: str
    inference_id: str
    client_gone: Callable[[], bool] | None = None


@dataclass(frozen=True, kw_only=True)
class MusicRequest:
    """A valid request body: one clip per text, or clips without one."""

    texts: tuple[str, ...] = ()
    unconditional_clips: int = 0  # if there are no texts
    negative_prompt: str | None = None  # for every text
    bucket_name: str | None
    params: SamplingParams
    seed: int | None
    return_tokens: bool = False
    progress: bool = False
    output: AudioOutput = field(default_factory=AudioOutput)

    def clip_specs(self, inference_id: str) -> list[ClipSpec]:
        """Return a ClipSpec for each clip; clip i uses seed + i modulo 2**32. A missing seed is a hash of the id."""
        seed = self.seed
        if seed is None:
            seed = int.from_bytes(hashlib.sha256(inference_id.encode()).digest()[:4], "big")
        texts = self.texts or (None,) * self.unconditional_clips
        return [
            ClipSpec(text, (seed + index) % 2**32, self.params, self.negative_prompt)
            for index, text in enumerate(texts)
        ]

    def check_accept(self, accept: str) -> None:
        """Raise InvalidRequestError if the response's body is to be audio and the request is not for one WAV file."""
        if accept != WAV:
            return
        if self.output.file.content_type != WAV:
            allowed = ", ".join(name for name, kind in FORMATS.items() if kind.content_type == WAV)
            raise InvalidRequestError(
                f"format must be one of {allowed} when Accept is {WAV}, got {_shown(self.output.format)}"
            )
        if len(self.texts) > 1:
            raise InvalidRequestError(f"texts must have exactly one string when Accept is {WAV}, got {len(self.texts)}")
        if self.unconditional_clips > 1:
            got = self.unconditional_clips
            raise InvalidRequestError(f"unconditional_clips must be 1 when Accept is {WAV}, got {got}")

    def check_format(self) -> None:
        """Raise InvalidRequestError if this container cannot write the files."""
        if reason := self.output.unavailable:
            allowed = f"format must be one of {', '.join(writable_formats())}"
            if self.output.format == "wav":
                raise InvalidRequestError(f"tags must be false: {reason}")
            raise InvalidRequestError(f"{allowed}, got {_shown(self.output.format)}: {reason}")

    def bucket(self, allowed: tuple[str, ...]) -> str:
        """Return the requested bucket, by default the first allowed one; InvalidRequestError if it is not allowed."""
        if self.bucket_name is None:
            return allowed[0]
        if self.bucket_name not in allowed:
            names = ", ".join(allowed)
            raise InvalidRequestError(f"bucket_name must be one of {names}, got {_shown(self.bucket_name)}")
        return self.bucket_name


def parse_inference_id(header: str | None) -> str:
    """Return the id from the header, or a new one; InvalidRequestError if it cannot be part of an S3 key."""
    if not header:
        return str(uuid.uuid4())
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", header):
        allowed = "1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first"
        raise InvalidRequestError(f"{INFERENCE_ID_HEADER} must be {allowed}, got {_shown(header)}")
    return header


def parse_accept(header: str) -> str:
    """Return JSON or WAV, whichever the `Accept` header prefers; NotAcceptableError if it has neither.

    RFC 9110, section 12.5.1: the most specific range that matches a type gives its quality, and 0 refuses it. Of equal
    qualities the first in the header wins; without a header, JSON.
    """
    ranges = [_media_range(choice) for choice in header.split(",") if choice.strip()] or [("*/*", 1.0)]
    names = [name for name, _ in ranges]
    ranks: list[tuple[float, int, str]] = []
    for content_type in (JSON, WAV):
        wider = (content_type, content_type.split("/")[0] + "/*", "*/*")  # the most specific first
        if matches := [name for name in wider if name in names]:
            index = names.index(matches[0])
            ranks.append((-ranges[index][1], index, content_type))
    quality, _, preferred = min(ranks, default=(0.0, 0, ""))
    if quality == 0:
        raise NotAcceptableError(f"Accept must be {JSON} or {WAV}, got {_shown(header)}")
    return preferred


def _media_range(choice: str) -> tuple[str, float]:
    """Return a media range of `Accept` and its quality; a quality that is none counts as 0."""
    name, *parameters = (part.strip().lower() for part in choice.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return name, float(value) if _QUALITY.fullmatch(value.strip()) else 0.0
    return name, 1.0


def check_content_type(content_type: str) -> None:
    """Raise UnsupportedContentTypeError unless the type is JSON or leaves open what the body is.

    Parameters such as `charset=utf-8` are allowed.
    """
    if _media_type(content_type) not in (JSON, *_UNNAMED):
        raise UnsupportedContentTypeError(f"Content-Type must be {JSON}, got {_shown(content_type)}")


def _media_type(content_type: str) -> str:
    return content_type.split(";")[0].strip().lower()


def parse_request(body: bytes, content_type: str) -> MusicRequest:
    """Parse a request body; one whose content type is missing or an octet stream must be a JSON object.

    Raises UnsupportedContentTypeError, BodyTooLargeError, MalformedBodyError, or InvalidRequestError with a sentence
    that names the field, the value and what is allowed.
    """
    check_content_type(content_type)
    if len(body) > MAX_JSON_BYTES:
        raise BodyTooLargeError(f"body must be at most {MAX_JSON_BYTES} bytes of JSON, got {len(body)}")
    value = _load_json(body) if _media_type(content_type) == JSON else _load_unnamed(body, content_type)
    fields = _object("body", value, _FIELDS)
    texts, unconditional_clips, negative_prompt = _what_to_generate(fields)
    bucket_name = fields.get("bucket_name")
    if "bucket_name" in fields and not isinstance(bucket_name, str):
        raise InvalidRequestError(f"bucket_name must be a string, got {_shown(bucket_name)}")
    params, seed = parse_generation_params(fields.get("generation_params", {}))
    return MusicRequest(
        texts=texts, unconditional_clips=unconditional_clips, negative_prompt=negative_prompt,
        bucket_name=cast("str | None", bucket_name), params=params, seed=seed,
        return_tokens=_boolean("return_tokens", fields.get("return_tokens", False)),
        progress=_boolean("progress", fields.get("progress", False)), output=_output(fields),
    )  # fmt: skip


def _load_json(body: bytes) -> object:
    try:
        return json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"body must be UTF-8, got another byte at {error.start}") from error
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}"
        raise MalformedBodyError(f"body must be JSON, got an error at {at}: {error.msg.lower()}") from error
    except ValueError as error:  # a number of more digits than Python converts
        raise MalformedBodyError("body must be JSON with numbers of at most 4300 digits, got more") from error
    except RecursionError as error:
        raise MalformedBodyError("body must be JSON nested at most three deep, got far more") from error


def _load_unnamed(body: bytes, content_type: str) -> object:
    """Return the JSON object that the body holds; UnsupportedContentTypeError with the reason if it holds none."""
    allowed = f"Content-Type must be {JSON} unless the body is a JSON object"
    got = _shown(content_type) if content_type else "none"
    try:
        value = _load_json(body)
    except MalformedBodyError as error:
        raise UnsupportedContentTypeError(f"{allowed}, got {got}; {error}") from error
    if not isinstance(value, dict):
        raise UnsupportedContentTypeError(f"{allowed}, got {got} and {_shown(value)}")
    return cast("object", value)


def _object(field: str, value: object, allowed: tuple[str, ...]) -> Mapping[str, object]:
    """Return the value as an object that has allowed fields only."""
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{field} must be an object, got {_shown(value)}")
    fields = cast("dict[str, object]", value)
    for name in fields:
        if name not in allowed:
            raise InvalidRequestError(f"{field} must have no field but {', '.join(allowed)}, got {_shown(name)}")
    return fields


def _what_to_generate(fields: Mapping[str, object]) -> tuple[tuple[str, ...], int, str | None]:
    """Return the texts or the number of clips without one, and the negative prompt."""
    if "unconditional_clips" in fields:
        for name in ("texts", "negative_prompt"):
            if name in fields:
                raise InvalidRequestError(f"body must have one of unconditional_clips and {name}, got both")
        return (), int(_CLIPS.parse("unconditional_clips", fields["unconditional_clips"])), None
    negative = _text("negative_prompt", fields["negative_prompt"]) if "negative_prompt" in fields else None
    return _texts(fields), 0, negative


def _boolean(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{field} must be true or false, got {_shown(value)}")
    return value


def _output(fields: Mapping[str, object]) -> AudioOutput:
    """Return how the audio files are to be; a missing field has the default of AudioOutput."""
    given = {name: fields[name] for name in vars(AudioOutput()) if name in fields}
    for name, allowed in (("format", tuple(FORMATS)), ("normalization", NORMALIZATIONS)):
        if name in given and given[name] not in allowed:
            raise InvalidRequestError(f"{name} must be one of {', '.join(allowed)}, got {_shown(given[name])}")
    for name in ("fade_in", "fade_out"):
        if name in given:
            given[name] = _FADE.parse(name, given[name])
    for name in ("trim_tail", "tags"):
        if name in given:
            given[name] = _boolean(name, given[name])
    return AudioOutput(**given)  # pyright: ignore[reportArgumentType]  # each value has its field's type


def _texts(fields: Mapping[str, object]) -> tuple[str, ...]:
    value = fields.get("texts")
    if not isinstance(value, list) or not 1 <= len(cast("list[object]", value)) <= MAX_TEXTS:
        got = _shown(cast("object", value)) if "texts" in fields else "nothing"
        raise InvalidRequestError(f"texts must be an array of 1 to {MAX_TEXTS} strings, got {got}")
    return tuple(_text(f"texts[{index}]", text) for index, text in enumerate(cast("list[object]", value)))


def _text(field: str, text: object) -> str:
    allowed = f"{field} must be a string of 1 to {MAX_CHARACTERS} characters"
    if not isinstance(text, str):
        raise InvalidRequestError(f"{allowed}, got {_shown(text)}")
    if not 1 <= len(text) <= MAX_CHARACTERS:
        raise InvalidRequestError(f"{allowed}, got {len(text)} characters")
    if not re.search(r"\S", text):
        raise InvalidRequestError(f"{allowed}, not all of them white space, got {_shown(text)}")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise InvalidRequestError(f"{allowed} without lone surrogates, got {_shown(text)}")
    return text


@dataclass(frozen=True)
class _Range:
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
        raise InvalidRequestError(f"{field} must be {kind} from {self.low} to {self.high}, got {_shown(value)}")


_CLIPS = _Range(1, MAX_TEXTS, integer=True)
_FADE = _Range(0, MAX_FADE_SECONDS)
_PARAMS: dict[str, _Range | None] = {  # None: a boolean
    "max_new_tokens": _Range(DELAY_TOKENS + 1, MAX_NEW_TOKENS, integer=True),
    "duration": _Range(0.02, 30),
    "guidance_scale": _Range(1, 20),
    "do_sample": None,
    "temperature": _Range(MIN_TEMPERATURE, 5),
    "top_k": _Range(0, 2048, integer=True),
    "top_p": _Range(MIN_TOP_P, 1),
    "seed": _Range(0, 2**32 - 1, integer=True),
}


def parse_generation_params(value: object) -> tuple[SamplingParams, int | None]:
    """Return `generation_params` as sampling parameters and the seed, None if it is not given."""
    fields = _object("generation_params", value, tuple(_PARAMS))
    if "duration" in fields and "max_new_tokens" in fields:
        raise InvalidRequestError("generation_params must have one of duration and max_new_tokens, got both")
    parsed: dict[str, float] = {}
    for name, item in fields.items():
        field = f"generation_params.{name}"
        allowed = _PARAMS[name]
        parsed[name] = allowed.parse(field, item) if allowed else _boolean(field, item)
    seed = cast("int | None", parsed.pop("seed", None))
    if "duration" in parsed:
        parsed["max_new_tokens"] = max(1, round(parsed.pop("duration") * FRAMES_PER_SECOND)) + DELAY_TOKENS
    return SamplingParams(**parsed), seed  # pyright: ignore[reportArgumentType]  # each value has its field's type


def _shown(value: object) -> str:
    """Return a value as JSON on one short line: containers by kind and size, text cut at 60 characters."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"an array of {len(cast('list[object]', value))} items"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "…"
