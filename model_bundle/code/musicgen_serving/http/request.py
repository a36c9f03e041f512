"""Parse and validate a request's headers and JSON body (docs/api.md; docs/request.schema.json)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from musicgen_serving.audio_input import AudioReference
from musicgen_serving.audio_output import FORMATS, MAX_FADE_SECONDS, NORMALIZATIONS, AudioOutput, writable_formats
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.http.audio_field import EXCERPT_FIELDS, parse_excerpt
from musicgen_serving.http.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    MalformedBodyError,
    UnsupportedContentTypeError,
)
from musicgen_serving.http.fields import Range, parse_boolean, parse_object, shown
from musicgen_serving.http.music_fields import PROMPT_FIELDS, MusicPrompt, parse_music
from musicgen_serving.http.negotiation import JSON, WAV, check_content_type, media_type

# For audio in base64: 25 s of 16-bit stereo WAV at 44.1 kHz are 5.9 MB. All the rest is at most 0.2 MB.
MAX_JSON_BYTES = 8 * 2**20
MAX_MELODY_SECONDS = 120  # it is repeated to fill longer clips
MAX_EXCERPT_SECONDS = 25  # that a clip may continue: at least 5 s of the decoder's 30 are new
_FIELDS = (
    *PROMPT_FIELDS, "continuation", "melody", "bucket_name", "return_tokens", "progress", "format", "normalization",
    "fade_in", "fade_out", "trim_tail", "tags",
)  # fmt: skip
_FADE = Range(0, MAX_FADE_SECONDS)


@dataclass(frozen=True)
class Continuation:
    """The excerpt that every clip of a request continues, and whether the clips start with it."""

    excerpt: AudioReference
    return_excerpt: bool = True


@dataclass(frozen=True, kw_only=True)
class MusicRequest:
    """A valid request body: what to generate, how, and where and how the files are to be written."""

    prompt: MusicPrompt
    bucket_name: str | None
    params: SamplingParams
    seed: int | None
    return_tokens: bool = False
    progress: bool = False
    output: AudioOutput = field(default_factory=AudioOutput)
    continuation: Continuation | None = None
    melody: AudioReference | None = None  # that every clip follows

    def clip_specs(self, inference_id: str) -> list[ClipSpec]:
        """Return a ClipSpec for each clip; clip i uses seed + i modulo 2**32. A missing seed is a hash of the id."""
        seed = self.seed
        if seed is None:
            seed = int.from_bytes(hashlib.sha256(inference_id.encode()).digest()[:4], "big")
        return [replace(clip, seed=(seed + index) % 2**32) for index, clip in enumerate(self.prompt.clips(self.params))]

    def check_accept(self, accept: str) -> None:
        """Raise InvalidRequestError if the response's body is to be audio and the request is not for one WAV file."""
        if accept != WAV:
            return
        if self.output.file.content_type != WAV:
            allowed = ", ".join(name for name, kind in FORMATS.items() if kind.content_type == WAV)
            raise InvalidRequestError(
                f"format must be one of {allowed} when Accept is {WAV}, got {shown(self.output.format)}"
            )
        if reason := self.prompt.not_one_clip:
            raise InvalidRequestError(f"{reason[0]} when Accept is {WAV}, got {reason[1]}")

    def check_format(self) -> None:
        """Raise InvalidRequestError if this container cannot write the files."""
        if reason := self.output.unavailable:
            allowed = f"format must be one of {', '.join(writable_formats())}"
            if self.output.format == "wav":
                raise InvalidRequestError(f"tags must be false: {reason}")
            raise InvalidRequestError(f"{allowed}, got {shown(self.output.format)}: {reason}")

    def bucket(self, allowed: tuple[str, ...]) -> str:
        """Return the requested bucket, by default the first allowed one; InvalidRequestError if it is not allowed."""
        if self.bucket_name is None:
            return allowed[0]
        if self.bucket_name not in allowed:
            names = ", ".join(allowed)
            raise InvalidRequestError(f"bucket_name must be one of {names}, got {shown(self.bucket_name)}")
        return self.bucket_name


def parse_request(body: bytes, content_type: str) -> MusicRequest:
    """Parse a request body; one whose content type is missing or an octet stream must be a JSON object.

    Raises UnsupportedContentTypeError, BodyTooLargeError, MalformedBodyError, or InvalidRequestError with a sentence
    that names the field, the value and what is allowed.
    """
    check_content_type(content_type)
    if len(body) > MAX_JSON_BYTES:
        raise BodyTooLargeError(f"body must be at most {MAX_JSON_BYTES} bytes of JSON, got {len(body)}")
    value = _load_json(body) if media_type(content_type) == JSON else _load_unnamed(body, content_type)
    fields = parse_object("body", value, _FIELDS)
    prompt, params, seed = parse_music(fields)
    bucket_name = fields.get("bucket_name")
    if "bucket_name" in fields and not isinstance(bucket_name, str):
        raise InvalidRequestError(f"bucket_name must be a string, got {shown(bucket_name)}")
    return MusicRequest(
        prompt=prompt, bucket_name=cast("str | None", bucket_name), params=params, seed=seed,
        return_tokens=parse_boolean("return_tokens", fields.get("return_tokens", False)),
        progress=parse_boolean("progress", fields.get("progress", False)), output=_output(fields),
        continuation=_continuation(fields), melody=_melody(fields),
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
    got = shown(content_type) if content_type else "none"
    try:
        value = _load_json(body)
    except MalformedBodyError as error:
        raise UnsupportedContentTypeError(f"{allowed}, got {got}; {error}") from error
    if not isinstance(value, dict):
        raise UnsupportedContentTypeError(f"{allowed}, got {got} and {shown(value)}")
    return cast("object", value)


def _output(fields: Mapping[str, object]) -> AudioOutput:
    """Return how the audio files are to be; a missing field has the default of AudioOutput."""
    given = {name: fields[name] for name in vars(AudioOutput()) if name in fields}
    for name, allowed in (("format", tuple(FORMATS)), ("normalization", NORMALIZATIONS)):
        if name in given and given[name] not in allowed:
            raise InvalidRequestError(f"{name} must be one of {', '.join(allowed)}, got {shown(given[name])}")
    for name in ("fade_in", "fade_out"):
        if name in given:
            given[name] = _FADE.parse(name, given[name])
    for name in ("trim_tail", "tags"):
        if name in given:
            given[name] = parse_boolean(name, given[name])
    return AudioOutput(**given)  # pyright: ignore[reportArgumentType]  # each value has its field's type


def _continuation(fields: Mapping[str, object]) -> Continuation | None:
    if "continuation" not in fields:
        return None
    value = parse_object("continuation", fields["continuation"], (*EXCERPT_FIELDS, "return_excerpt"))
    return Continuation(
        parse_excerpt("continuation", value, MAX_EXCERPT_SECONDS),
        parse_boolean("continuation.return_excerpt", value.get("return_excerpt", True)),
    )


def _melody(fields: Mapping[str, object]) -> AudioReference | None:
    if "melody" not in fields:
        return None
    value = parse_object("melody", fields["melody"], EXCERPT_FIELDS)
    return parse_excerpt("melody", value, MAX_MELODY_SECONDS)
