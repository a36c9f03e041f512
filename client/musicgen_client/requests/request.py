"""A request that the endpoint accepts: typed, checked before it is sent, in the container's words (docs/api.md)."""

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from musicgen_client.errors import InvalidRequest
from musicgen_client.requests.audio import MAX_BODY_BYTES, Excerpt, read_excerpt
from musicgen_client.requests.checks import check_number, check_text, read_object, shown
from musicgen_client.requests.lengths import MAX_SECONDS, check_lengths, max_clips

MAX_TEXTS = 16
MAX_CLIPS = 16
MAX_SECTIONS = 16
MAX_EXCERPT_SECONDS = 25  # that a clip may continue
MAX_MELODY_SECONDS = 120
SEEDS = 2**32
# The range of each numeric parameter, and whether it is an integer; docs/request.schema.json, which a test compares.
RANGES: dict[str, tuple[float, float, bool]] = {
    "max_new_tokens": (4, 1503, True),
    "duration": (0.02, MAX_SECONDS, False),
    "stride": (1, 29, False),
    "guidance_scale": (1, 20, False),
    "temperature": (0.001, 5, False),
    "top_k": (0, 2048, True),
    "top_p": (0.000001, 1, False),
    "seed": (0, SEEDS - 1, True),
}
_PARAMETERS = (*RANGES, "do_sample")
FORMATS = ("wav", "wav_24", "wav_float", "flac", "flac_24", "ogg", "mp3")
NORMALIZATIONS = ("none", "clip", "peak", "rms", "loudness")
MAX_FADE_SECONDS = 30
_OPTIONAL = ("negative_prompt", "bucket_name", "format", "normalization", "fade_in", "fade_out", "n", "bpm", "bars")
_FLAGS = ("return_tokens", "progress", "trim_tail", "tags", "loop")
_LENGTHS = ("max_new_tokens", "duration")


@dataclass(frozen=True)
class Section:
    """A part of a clip with a text of its own; `duration` is in seconds."""

    text: str
    duration: float


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call of the endpoint: 1 to 16 texts, sections of one clip, or clips without a text, with the same parameters.

    Raises InvalidRequest, with the sentence with which the container would refuse the value. A request is sent with a
    seed (`seeded`), so that one that has to be sent again gives the same music.
    """

    texts: tuple[str, ...] = ()
    unconditional_clips: int = 0
    sections: tuple[Section, ...] = ()
    n: int | None = None  # variations of each text, or of all sections
    loop: bool = False
    bpm: float | None = None
    bars: int | None = None
    continuation: Excerpt | None = None  # that every clip continues
    return_excerpt: bool | None = None  # whether the clips start with it
    melody: Excerpt | None = None  # that every clip follows
    negative_prompt: str | None = None
    bucket_name: str | None = None
    return_tokens: bool = False
    progress: bool = False
    format: str | None = None
    normalization: str | None = None
    fade_in: float | None = None  # seconds
    fade_out: float | None = None
    trim_tail: bool = False
    tags: bool = False
    duration: float | None = None  # seconds
    stride: float | None = None  # seconds
    max_new_tokens: int | None = None
    guidance_scale: float | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        self._check_sources()
        self._check_loop()
        if self.duration is not None and self.max_new_tokens is not None:
            raise InvalidRequest("generation_params must have one of duration and max_new_tokens, got both")
        for name, (low, high, integer) in RANGES.items():
            if (value := getattr(self, name)) is not None:
                check_number(f"generation_params.{name}", value, low, high, integer)
        self._check_output()
        booleans = {name: getattr(self, name) for name in _FLAGS}
        for name, value in {"generation_params.do_sample": self.do_sample, **booleans}.items():
            if value is not None and not isinstance(cast("object", value), bool):
                raise InvalidRequest(f"{name} must be true or false, got {shown(value)}")
        if self.bucket_name is not None and not isinstance(cast("object", self.bucket_name), str):
            raise InvalidRequest(f"bucket_name must be a string, got {shown(self.bucket_name)}")
        self._check_audio()
        check_lengths(self)

    def _check_audio(self) -> None:
        """Check the audio that the clips continue or follow."""
        if self.continuation is not None:
            self.continuation.check("continuation", MAX_EXCERPT_SECONDS)
        if self.return_excerpt is not None:
            if self.continuation is None:
                raise InvalidRequest(
                    "continuation must be given for return_excerpt to have a meaning, got return_excerpt without it"
                )
            if not isinstance(cast("object", self.return_excerpt), bool):
                raise InvalidRequest(
                    f"continuation.return_excerpt must be true or false, got {shown(self.return_excerpt)}"
                )
        if self.melody is not None:
            self.melody.check("melody", MAX_MELODY_SECONDS)

    def _check_output(self) -> None:
        for name, allowed in (("format", FORMATS), ("normalization", NORMALIZATIONS)):
            if (value := getattr(self, name)) is not None and value not in allowed:
                raise InvalidRequest(f"{name} must be one of {', '.join(allowed)}, got {shown(value)}")
        for name in ("fade_in", "fade_out"):
            if (value := getattr(self, name)) is not None:
                check_number(name, value, 0, MAX_FADE_SECONDS, False)

    def _check_sources(self) -> None:
        """Check what to generate."""
        empty: dict[str, object] = {"texts": (), "unconditional_clips": 0, "sections": ()}
        given = [name for name, value in empty.items() if getattr(self, name) != value]
        if len(given) > 1:
            allowed = "texts, unconditional_clips and sections"
            raise InvalidRequest(f"body must have one of {allowed}, got {' and '.join(given)}")
        if self.unconditional_clips:
            for name in ("negative_prompt", "n"):
                if getattr(self, name) is not None:
                    raise InvalidRequest(f"body must have one of unconditional_clips and {name}, got both")
            check_number("unconditional_clips", self.unconditional_clips, 1, MAX_CLIPS, True)
            return
        if self.sections:
            self._check_sections()
        else:
            self._check_texts()
        if self.negative_prompt is not None:
            check_text("negative_prompt", self.negative_prompt)
        if self.n is not None:
            check_number("n", self.n, 1, MAX_CLIPS, True)
            if len(self.texts) * self.n > MAX_CLIPS:
                counts = f"{len(self.texts)} times {self.n}"
                raise InvalidRequest(f"texts and n must give at most {MAX_CLIPS} clips, got {counts}")

    def _check_sections(self) -> None:
        for name in _LENGTHS:
            if getattr(self, name) is not None:
                raise InvalidRequest(f"generation_params.{name} must not be given with sections, which have their own")
        if not isinstance(cast("object", self.sections), tuple) or len(self.sections) > MAX_SECTIONS:
            got = shown(list(self.sections))
            raise InvalidRequest(f"sections must be an array of 1 to {MAX_SECTIONS} objects, got {got}")
        for index, section in enumerate(self.sections):
            check_text(f"sections[{index}].text", section.text)
            check_number(f"sections[{index}].duration", section.duration, 0.02, MAX_SECONDS, False)

    def _check_loop(self) -> None:
        if not self.loop:
            for name in ("bpm", "bars"):
                if getattr(self, name) is not None:
                    raise InvalidRequest(f"loop must be true for {name} to have a meaning, got {name} without it")
            return
        for name, low, high, integer in (("bpm", 30, 300, False), ("bars", 1, 64, True)):
            if (value := getattr(self, name)) is None:
                raise InvalidRequest(f"{name} must be given for a loop, got nothing")
            check_number(name, value, low, high, integer)
        fades = {name: value for name in ("fade_in", "fade_out") if (value := getattr(self, name)) is not None}
        others = {name: value for name in ("sections", "continuation", "trim_tail") if (value := getattr(self, name))}
        for name, value in {**others, **fades}.items():
            raise InvalidRequest(f"{name} must not be given for a loop, got {shown(value)}")
        for name in _LENGTHS:
            if getattr(self, name) is not None:
                raise InvalidRequest(
                    f"generation_params.{name} must not be given for a loop: bpm and bars say its length"
                )

    def _check_texts(self) -> None:
        if not isinstance(cast("object", self.texts), tuple) or not 1 <= len(self.texts) <= MAX_TEXTS:
            raise InvalidRequest(f"texts must be an array of 1 to {MAX_TEXTS} strings, got {shown(list(self.texts))}")
        for index, text in enumerate(self.texts):
            check_text(f"texts[{index}]", text)

    @property
    def clips(self) -> int:
        """How many clips the request asks for."""
        return (len(self.texts) or bool(self.sections)) * (self.n or 1) or self.unconditional_clips

    def prompt(self, clip: int) -> str:
        """Return the text of a clip, by its index in the response; those of sections are joined."""
        if self.sections:
            return " / ".join(section.text for section in self.sections)
        return self.texts[clip // (self.n or 1)] if self.texts else ""

    def body(self) -> bytes:
        """Return the JSON body; InvalidRequest if it is larger than the container takes."""
        content: dict[str, object] = {}
        if self.texts:
            content["texts"] = list(self.texts)
        elif self.sections:
            content["sections"] = [vars(section) for section in self.sections]
        else:
            content["unconditional_clips"] = self.unconditional_clips
        for name in _OPTIONAL:
            if (value := getattr(self, name)) is not None:
                content[name] = value
        for name in _FLAGS:
            if getattr(self, name):
                content[name] = True
        if self.continuation is not None:
            kept = {} if self.return_excerpt is None else {"return_excerpt": self.return_excerpt}
            content["continuation"] = {**self.continuation.fields(), **kept}
        if self.melody is not None:
            content["melody"] = self.melody.fields()
        params = {name: getattr(self, name) for name in _PARAMETERS if getattr(self, name) is not None}
        body = json.dumps({**content, "generation_params": params}, sort_keys=True).encode()
        if len(body) > MAX_BODY_BYTES:
            raise InvalidRequest(f"body must be at most {MAX_BODY_BYTES} bytes of JSON, got {len(body)}")
        return body

    def with_seed(self, seed: int) -> "Request":
        """Return the same request with another seed, modulo 2**32."""
        return replace(self, seed=seed % SEEDS)

    def seeded(self) -> "Request":
        """Return the request with a random seed, unless it has one."""
        return self if self.seed is not None else self.with_seed(secrets.randbelow(SEEDS))

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> "Request":
        """Return the request of a JSON object such as `body()` writes; InvalidRequest for one that cannot be sent."""
        known = [item.name for item in fields(cls) if item.name not in (*_PARAMETERS, "return_excerpt")]
        values = read_object("body", body, (*known, "generation_params"))
        values.update(read_object("generation_params", values.pop("generation_params", {}), _PARAMETERS))
        if "texts" in values:
            values["texts"] = tuple(_read_array("texts", values["texts"], f"1 to {MAX_TEXTS} strings"))
        if "sections" in values:
            sections = _read_array("sections", values["sections"], f"1 to {MAX_SECTIONS} objects")
            values["sections"] = tuple(_read_section(f"sections[{i}]", item) for i, item in enumerate(sections))
        if "continuation" in values:
            values["continuation"], more = read_excerpt("continuation", values["continuation"], ("return_excerpt",))
            values.update(more)
        if "melody" in values:
            values["melody"], _ = read_excerpt("melody", values["melody"])
        return cls(**values)


def _read_array(field: str, value: object, allowed: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRequest(f"{field} must be an array of {allowed}, got {shown(value)}")
    return cast("list[Any]", value)


def _read_section(field: str, value: object) -> Section:
    given = read_object(field, value, ("text", "duration"))
    for name in ("text", "duration"):
        if name not in given:
            raise InvalidRequest(f"{field} must have text and duration, got no {name}")
    return Section(**given)


def title(body: Mapping[str, Any]) -> str:
    """Return the first text of a request's JSON object, or the joined ones of its sections, for people."""
    texts: list[str] = body.get("texts") or [" / ".join(section["text"] for section in body.get("sections", []))]
    return texts[0]


def variations(request: Request, count: int) -> Iterator[Request]:
    """Yield requests for `count` clips of the request's only text or sections, with consecutive seeds.

    Each asks for 16 clips, or for as many of this length as a request may have.
    """
    if count < 1:
        raise InvalidRequest(f"n must be at least 1, got {count}")
    if request.clips != 1:
        raise InvalidRequest(f"texts must have exactly one string for variations, got {request.clips}")
    seed = cast("int", request.seeded().seed)
    most = min(MAX_CLIPS, max_clips(request))
    for first in range(0, count, most):
        size = min(most, count - first)
        yield replace(request, **_repeated(request, size), seed=(seed + first) % SEEDS)


def _repeated(request: Request, size: int) -> dict[str, Any]:
    """Return the fields with which a request for one clip asks for `size`."""
    if request.sections:
        return {"n": size}
    return {"texts": request.texts * size} if request.texts else {"unconditional_clips": size}


def job_id(body: bytes, salt: str) -> str:
    """Return an inference id of 28 characters that is the same for the same body and salt.

    It is part of S3 keys and, with ".out", a `Filename` of InvokeEndpointAsync, which has at most 32 characters.
    """
    return "m" + hashlib.sha256(salt.encode() + b"\0" + body).hexdigest()[:27]
