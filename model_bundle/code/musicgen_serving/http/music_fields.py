"""What to generate: texts, sections, variations, a loop, and how to sample. Parse and check these fields of a body."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from musicgen_serving.engine.sampling_params import (
    DELAY_TOKENS,
    FRAMES_PER_SECOND,
    MAX_NEW_TOKENS,
    MIN_TEMPERATURE,
    MIN_TOP_P,
    ClipSpec,
    SamplingParams,
    Section,
)
from musicgen_serving.http.errors import InvalidRequestError
from musicgen_serving.http.fields import Range, parse_boolean, parse_object, parse_text, shown
from musicgen_serving.loop import Loop

MAX_TEXTS = 16
MAX_CLIPS = 16
MAX_SECTIONS = 16
MAX_SECONDS = 300  # of a clip
MAX_REQUEST_SECONDS = 600  # of all clips of a request: the answer waits for the last
PROMPT_FIELDS = (
    "texts", "unconditional_clips", "sections", "n", "negative_prompt", "loop", "bpm", "bars", "generation_params",
)  # fmt: skip
_SOURCES = ("texts", "unconditional_clips", "sections")
_LISTED = f"{', '.join(_SOURCES[:-1])} and {_SOURCES[-1]}"
_CLIPS = Range(1, MAX_CLIPS, integer=True)
_SECONDS = Range(0.02, MAX_SECONDS)
_BPM = Range(30, 300)
_BARS = Range(1, 64, integer=True)
_PARAMS: dict[str, Range | None] = {  # None: a boolean
    "max_new_tokens": Range(DELAY_TOKENS + 1, MAX_NEW_TOKENS, integer=True),
    "duration": _SECONDS,
    "stride": Range(1, 29),
    "guidance_scale": Range(1, 20),
    "do_sample": None,
    "temperature": Range(MIN_TEMPERATURE, 5),
    "top_k": Range(0, 2048, integer=True),
    "top_p": Range(MIN_TOP_P, 1),
    "seed": Range(0, 2**32 - 1, integer=True),
}
_LENGTHS = ("max_new_tokens", "duration")


@dataclass(frozen=True, kw_only=True)
class MusicPrompt:
    """What to generate: `n` clips for each text, `n` of all sections, or clips without a text."""

    texts: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    unconditional_clips: int = 0  # if there are neither
    n: int = 1
    negative_prompt: str | None = None  # for every text
    loop: Loop | None = None

    def clips(self, params: SamplingParams) -> list[ClipSpec]:
        """Return the clips, all with seed 0: the variations of the first text, then those of the next."""
        if self.loop:
            params = replace(params, max_new_tokens=self.loop.frames + DELAY_TOKENS)
        if self.sections:
            return [ClipSpec(None, 0, params, self.negative_prompt, self.sections)] * self.n
        texts = [self.loop.text(text) if self.loop else text for text in self.texts for _ in range(self.n)]
        return [ClipSpec(text, 0, params, self.negative_prompt) for text in texts or [None] * self.unconditional_clips]

    @property
    def not_one_clip(self) -> tuple[str, int] | None:
        """Which field asks for more than one clip, in words and by its value; None if there is one clip."""
        if len(self.texts) > 1:
            return "texts must have exactly one string", len(self.texts)
        if self.unconditional_clips > 1:
            return "unconditional_clips must be 1", self.unconditional_clips
        return ("n must be 1", self.n) if self.n > 1 else None

    def check_length(self, params: SamplingParams) -> None:
        """Raise InvalidRequestError if a clip, or all together, would be too long."""
        seconds = [clip.frames / FRAMES_PER_SECOND for clip in self.clips(params)]
        longest = self.loop.seconds if self.loop else seconds[0]
        if longest > MAX_SECONDS:
            what = "bars and bpm" if self.loop else "sections"
            raise InvalidRequestError(f"{what} must give at most {MAX_SECONDS} s, got {longest:g} s")
        if sum(seconds) > MAX_REQUEST_SECONDS:
            raise InvalidRequestError(
                f"a request must be for at most {MAX_REQUEST_SECONDS} s of audio, got {len(seconds)} clips of "
                f"{seconds[0]:g} s"
            )


def parse_music(fields: Mapping[str, object]) -> tuple[MusicPrompt, SamplingParams, int | None]:
    """Return what to generate, how, and the seed, None if it is not given."""
    sources = [name for name in _SOURCES if name in fields]
    if len(sources) > 1:
        raise InvalidRequestError(f"body must have one of {_LISTED}, got {' and '.join(sources)}")
    prompt = _prompt(fields)
    loop = _loop(fields)
    params, seed = parse_generation_params(fields.get("generation_params", {}))
    return replace(prompt, loop=loop), params, seed


def _prompt(fields: Mapping[str, object]) -> MusicPrompt:
    """Return what to generate, but for a loop."""
    if "unconditional_clips" in fields:
        for name in ("negative_prompt", "n"):
            if name in fields:
                raise InvalidRequestError(f"body must have one of unconditional_clips and {name}, got both")
        return MusicPrompt(unconditional_clips=int(_CLIPS.parse(*_item(fields, "unconditional_clips"))))
    texts, sections = (), ()
    if "sections" in fields:
        sections = _sections(fields)
    else:
        texts = _texts(fields)
    n = int(_CLIPS.parse(*_item(fields, "n"))) if "n" in fields else 1
    if len(texts) * n > MAX_CLIPS:
        raise InvalidRequestError(f"texts and n must give at most {MAX_CLIPS} clips, got {len(texts)} times {n}")
    negative = parse_text("negative_prompt", fields["negative_prompt"]) if "negative_prompt" in fields else None
    return MusicPrompt(texts=texts, sections=sections, n=n, negative_prompt=negative)


def _item(fields: Mapping[str, object], name: str) -> tuple[str, object]:
    return name, fields[name]


def _texts(fields: Mapping[str, object]) -> tuple[str, ...]:
    value = fields.get("texts")
    if not isinstance(value, list) or not 1 <= len(cast("list[object]", value)) <= MAX_TEXTS:
        got = shown(cast("object", value)) if "texts" in fields else "nothing"
        raise InvalidRequestError(f"texts must be an array of 1 to {MAX_TEXTS} strings, got {got}")
    return tuple(parse_text(f"texts[{index}]", text) for index, text in enumerate(cast("list[object]", value)))


def _sections(fields: Mapping[str, object]) -> tuple[Section, ...]:
    value, params = fields["sections"], fields.get("generation_params", {})
    for name in _LENGTHS:
        if isinstance(params, dict) and name in params:
            raise InvalidRequestError(f"generation_params.{name} must not be given with sections, which have their own")
    if not isinstance(value, list) or not 1 <= len(cast("list[object]", value)) <= MAX_SECTIONS:
        got = shown(cast("object", value))
        raise InvalidRequestError(f"sections must be an array of 1 to {MAX_SECTIONS} objects, got {got}")
    return tuple(_section(f"sections[{index}]", item) for index, item in enumerate(cast("list[object]", value)))


def _section(field: str, value: object) -> Section:
    section = parse_object(field, value, ("text", "duration"))
    for name in ("text", "duration"):
        if name not in section:
            raise InvalidRequestError(f"{field} must have text and duration, got no {name}")
    return Section(
        parse_text(f"{field}.text", section["text"]), _frames(_SECONDS.parse(f"{field}.duration", section["duration"]))
    )


def _loop(fields: Mapping[str, object]) -> Loop | None:
    """Return the loop that is asked for; refuse fields that a loop needs without it, or that contradict it."""
    if not parse_boolean("loop", fields.get("loop", False)):
        for name in ("bpm", "bars"):
            if name in fields:
                raise InvalidRequestError(f"loop must be true for {name} to have a meaning, got {name} without it")
        return None
    for name in ("bpm", "bars"):
        if name not in fields:
            raise InvalidRequestError(f"{name} must be given for a loop, got nothing")
    for name in ("sections", "continuation", "trim_tail", "fade_in", "fade_out"):
        if name in fields:
            raise InvalidRequestError(f"{name} must not be given for a loop, got {shown(fields[name])}")
    params = fields.get("generation_params", {})
    for name in _LENGTHS:
        if isinstance(params, dict) and name in params:
            raise InvalidRequestError(
                f"generation_params.{name} must not be given for a loop: bpm and bars say its length"
            )
    return Loop(_BPM.parse(*_item(fields, "bpm")), int(_BARS.parse(*_item(fields, "bars"))))


def _frames(seconds: float) -> int:
    return max(1, round(seconds * FRAMES_PER_SECOND))


def parse_generation_params(value: object) -> tuple[SamplingParams, int | None]:
    """Return `generation_params` as sampling parameters and the seed, None if it is not given."""
    fields = parse_object("generation_params", value, tuple(_PARAMS))
    if "duration" in fields and "max_new_tokens" in fields:
        raise InvalidRequestError("generation_params must have one of duration and max_new_tokens, got both")
    parsed: dict[str, float] = {}
    for name, item in fields.items():
        field = f"generation_params.{name}"
        allowed = _PARAMS[name]
        parsed[name] = allowed.parse(field, item) if allowed else parse_boolean(field, item)
    seed = cast("int | None", parsed.pop("seed", None))
    if "duration" in parsed:
        parsed["max_new_tokens"] = _frames(parsed.pop("duration")) + DELAY_TOKENS
    if "stride" in parsed:
        parsed["stride"] = _frames(parsed["stride"])
    return SamplingParams(**parsed), seed  # pyright: ignore[reportArgumentType]  # each value has its field's type
