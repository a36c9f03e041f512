"""Requests in the formats of other MusicGen services: `from_replicate({"prompt": "calm piano", "top_p": 0})`.

A field either has a counterpart here, or a value that changes nothing, or it concerns only the service (its model's
name, a file format that is not written here); `convert` names the last kind as notes. Any other field is an error that
names it. A length
that is missing is the service's default where its documentation states one.

Sources: the input schema of replicate.com/meta/musicgen and of its older versions; the task text-to-audio of
@huggingface/tasks and handler.py of MusicGen repositories on the Hub; OpenAI's `POST /audio/speech` and the music
models behind it at NanoGPT and LocalAI; audiocraft's `set_generation_params`, `generate` and demos/musicgen_app.py.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

from musicgen_client.errors import InvalidRequest
from musicgen_client.requests.audio import Excerpt
from musicgen_client.requests.checks import shown
from musicgen_client.requests.request import FORMATS, MAX_TEXTS, NORMALIZATIONS, Request

_MODEL = "the stack's own model generates"
_FORMAT = f"files are written as {', '.join(FORMATS)}"
_LEVEL = f"the level is one of {', '.join(NORMALIZATIONS)}"
# Our fields of which a foreign service has values without a counterpart; of these the note in `service` is given.
_CHOICES = {"format": FORMATS, "normalization": NORMALIZATIONS}
Fields = dict[str, Any]


class Source(StrEnum):
    """The services whose requests are accepted."""

    REPLICATE = "replicate"
    HUGGINGFACE = "huggingface"
    OPENAI = "openai"
    AUDIOCRAFT = "audiocraft"


@dataclass(frozen=True)
class Converted:
    """A request of this package, and what of the foreign one has no effect, as sentences for people."""

    request: Request
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Format:
    texts: tuple[str, ...]  # names of the field with the prompt; one of them is given
    parameters: dict[str, str]  # their name: ours
    neutral: dict[str, tuple[object, ...]]  # the values of a field that mean what happens here anyway
    service: dict[str, str]  # fields that do not concern the music: the note about them
    silent: frozenset[str] = frozenset()  # fields without any effect on the result, whatever their value
    nested: tuple[str, ...] = ()  # objects whose fields count as the request's own
    several: bool = False  # whether the prompt may be a list
    count: str | None = None  # field with the number of clips of one prompt
    unconditional: str | None = None  # field with the number of clips without a prompt
    defaults: Fields = field(default_factory=dict[str, Any])
    adapt: Callable[[Fields], None] = lambda _: None
    audio: tuple[str, ...] = ()  # fields about audio to continue or to follow
    read_audio: Callable[[Fields], Fields] = lambda _: {}  # from them to the fields of a Request

    @property
    def supported(self) -> str:
        """The fields with an effect, for error sentences."""
        extra = [name for name in (self.count, self.unconditional) if name]
        return ", ".join([*self.texts, *self.parameters, *self.audio, *extra])


def _adapt_audiocraft(values: Fields) -> None:
    """Apply audiocraft's rules: top_p 0 is off and another one replaces top_k; temperature 0 is greedy."""
    top_p = values.get("top_p")
    if _is_number(top_p) and top_p == 0:
        del values["top_p"]
    elif top_p is not None:
        values["top_k"] = 0
    temperature = values.get("temperature")
    if _is_number(temperature) and temperature == 0:
        del values["temperature"]
        values["do_sample"] = False


def _replicate_audio(given: Fields) -> Fields:
    """Return the audio that a continuation goes on from, or that a request without one takes the melody of."""
    continued = given.get("continuation", False)
    if not isinstance(continued, bool):
        raise InvalidRequest(f"continuation must be true or false, got {shown(continued)}")
    named = {name: given[name] for name in _REPLICATE_AUDIO if given.get(name, "") != ""}
    if len(named) > 1:
        raise InvalidRequest("it must have one of input_audio and melody, got both")
    if not named:
        if continued:
            raise InvalidRequest("it must have input_audio for its continuation, got none")
        return {}
    ((name, value),) = named.items()
    if not continued:
        return {"melody": Excerpt(**_audio(name, value))}
    times = {ours: given[f"continuation_{ours}"] for ours in ("start", "end") if f"continuation_{ours}" in given}
    return {"continuation": Excerpt(**_audio(name, value), **times)}


def _audio(name: str, value: object) -> Fields:
    """Return where a field's audio is, as arguments of an Excerpt."""
    if isinstance(value, str):
        if value.startswith("s3://"):
            return {"s3": value}
        if data := re.fullmatch(r"data:[^,]*;base64,(.*)", value, re.DOTALL):
            return {"base64": data[1]}
    allowed = f"{name} must be an s3:// URL or a data URL in base64"
    raise InvalidRequest(f"{allowed}, got {shown(value)}: the endpoint reads only S3 and base64")


_REPLICATE_AUDIO = ("input_audio", "melody")  # synonyms
_FORMATS: dict[Source, _Format] = {
    Source.REPLICATE: _Format(
        texts=("prompt", "description"),
        parameters={
            "duration": "duration", "classifier_free_guidance": "guidance_scale", "temperature": "temperature",
            "top_k": "top_k", "top_p": "top_p", "seed": "seed", "output_format": "format",
            "normalization_strategy": "normalization", "strategy": "normalization",
        },
        neutral={
            "multi_band_diffusion": (False,), "replicate_weights": ("",), "stream": (False,),
        },
        service={
            "version": _MODEL, "model": _MODEL, "model_version": _MODEL, "output_format": _FORMAT,
            "normalization_strategy": _LEVEL, "strategy": _LEVEL,
        },
        nested=("input",),
        defaults={"duration": 8},
        adapt=_adapt_audiocraft,
        audio=(*_REPLICATE_AUDIO, "continuation", "continuation_start", "continuation_end"),
        read_audio=_replicate_audio,
    ),
    Source.HUGGINGFACE: _Format(
        texts=("inputs",),
        parameters={
            "max_new_tokens": "max_new_tokens", "duration": "duration", "guidance_scale": "guidance_scale",
            "do_sample": "do_sample", "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "seed": "seed",
        },
        neutral={
            "num_beams": (1,), "num_beam_groups": (1,), "early_stopping": (False, "never"), "penalty_alpha": (0,),
            "typical_p": (1,), "epsilon_cutoff": (0,), "eta_cutoff": (0,), "min_length": (0,), "min_new_tokens": (0,),
            "repetition_penalty": (1,), "num_return_sequences": (1,), "audio": ("",),
        },
        service={"model": _MODEL, "provider": _MODEL},
        silent=frozenset(("use_cache", "options")),  # how the service computes and caches
        nested=("parameters", "generation_parameters"),
        several=True,
    ),
    Source.OPENAI: _Format(
        texts=("input", "prompt", "text"),
        parameters={
            "duration": "duration", "duration_seconds": "duration", "seed": "seed", "do_sample": "do_sample",
            "response_format": "format",
        },
        neutral={
            "speed": (1,), "instructions": ("",), "stream": (False,), "stream_format": ("audio",), "language": ("",),
        },
        service={
            "model": _MODEL, "model_id": _MODEL, "backend": _MODEL, "voice": "MusicGen has no voices",
            "response_format": _FORMAT,
        },
        silent=frozenset(("user",)),
        count="n",
    ),
    Source.AUDIOCRAFT: _Format(
        texts=("descriptions", "text"),
        parameters={
            "duration": "duration", "cfg_coef": "guidance_scale", "use_sampling": "do_sample",
            "temperature": "temperature", "top_k": "top_k", "topk": "top_k", "top_p": "top_p", "topp": "top_p",
            "seed": "seed", "extend_stride": "stride", "format": "format", "strategy": "normalization",
        },
        neutral={
            "decoder": ("", "Default"), "model_path": ("",), "melody": ("",), "return_tokens": (False,),
        },
        service={"model": _MODEL, "strategy": _LEVEL, "format": _FORMAT},
        # How guidance is computed; a bar in the terminal; a part of the level that normalization does not have.
        silent=frozenset(("two_step_cfg", "progress", "loudness_compressor")),
        several=True,
        unconditional="num_samples",
        defaults={"duration": 30},
        adapt=_adapt_audiocraft,
    ),
}  # fmt: skip


def from_replicate(payload: Mapping[str, Any]) -> Request:
    """Return the request of a Replicate input of meta/musicgen, with or without the prediction around it."""
    return convert(Source.REPLICATE, payload).request


def from_huggingface(payload: Mapping[str, Any]) -> Request:
    """Return the request of a text-to-audio request of Hugging Face's inference API and endpoints."""
    return convert(Source.HUGGINGFACE, payload).request


def from_openai(payload: Mapping[str, Any]) -> Request:
    """Return the request of an OpenAI-style request for speech or sound whose text describes music."""
    return convert(Source.OPENAI, payload).request


def from_audiocraft(payload: Mapping[str, Any]) -> Request:
    """Return the request of audiocraft's arguments: descriptions, generation parameters, or the demo's fields."""
    return convert(Source.AUDIOCRAFT, payload).request


def convert(source: Source | str, payload: Mapping[str, Any]) -> Converted:
    """Translate a foreign request, given as its JSON object; null means that a field is absent.

    Raises InvalidRequest in one sentence: for all unsupported fields at once, or for a value that is not allowed here,
    under the name that the foreign request gives it.
    """
    if source not in list(Source):
        raise InvalidRequest(f"the source of a request must be one of {', '.join(Source)}, got {shown(source)}")
    source = Source(source)
    foreign = _FORMATS[source]
    given = _flat(source, foreign, payload)
    _refuse_unsupported(source, foreign, given)
    ignored = {name for name in foreign.service if name in given and not _has_counterpart(foreign, name, given[name])}
    names = {ours: name for name, ours in foreign.parameters.items() if name in given}
    values: Fields = {}
    for name, ours in foreign.parameters.items():
        if name in given and name not in ignored:
            if ours in values:
                raise InvalidRequest(f"{source} request must have one of {names[ours]} and its synonyms, got several")
            values[ours] = given[name]
    if values.get("seed") == -1:  # a random seed
        del values["seed"]
    foreign.adapt(values)
    if "max_new_tokens" not in values:
        values = {**foreign.defaults, **values}
    prompt = next((name for name in foreign.texts if name in given), foreign.texts[0])
    try:
        request = Request(**_texts(foreign, given), **values, **foreign.read_audio(given))
    except InvalidRequest as error:
        raise InvalidRequest(f"{source} request: {_translated(str(error), names, prompt, given)}") from error
    notes = tuple(
        f"{name} {shown(given[name])} has no effect: {note}"
        for name, note in foreign.service.items()
        if name in ignored
    )
    return Converted(request, notes)


def _has_counterpart(foreign: _Format, name: str, value: object) -> bool:
    ours = foreign.parameters.get(name)
    return ours is not None and value in _CHOICES[ours]


def _flat(source: Source, foreign: _Format, payload: object) -> Fields:
    """Return the fields that are not null, those of nested objects among them."""
    if not isinstance(payload, Mapping):
        raise InvalidRequest(f"{source} request must be an object, got {shown(payload)}")
    given = {str(name): value for name, value in cast("Mapping[Any, Any]", payload).items() if value is not None}
    for name in foreign.nested:
        inner = given.pop(name, {})
        if not isinstance(inner, Mapping):
            raise InvalidRequest(f"{source} request: {name} must be an object, got {shown(inner)}")
        fields = {str(key): value for key, value in cast("Mapping[Any, Any]", inner).items() if value is not None}
        if twice := sorted(given.keys() & fields.keys()):
            raise InvalidRequest(f"{source} request must have {twice[0]} once, got it also in {name}")
        given.update(fields)
    return given


def _refuse_unsupported(source: Source, foreign: _Format, given: Fields) -> None:
    known = {*foreign.texts, *foreign.parameters, *foreign.audio, *foreign.service, *foreign.silent}
    known |= {name for name in (foreign.count, foreign.unconditional) if name}
    unsupported = [
        f"{name} {shown(value)}"
        for name, value in given.items()
        if name not in known and not any(_same(value, neutral) for neutral in foreign.neutral.get(name, ()))
    ]
    if unsupported:
        raise InvalidRequest(
            f"{source} request must have no {', '.join(unsupported)}; supported are {foreign.supported}"
        )


def _texts(foreign: _Format, given: Fields) -> Fields:
    """Return the arguments of a Request for its prompts."""
    named = [name for name in foreign.texts if name in given]
    if foreign.unconditional in given and not named:
        return {"unconditional_clips": _count(foreign.unconditional or "", given[foreign.unconditional])}
    wanted = " or ".join(foreign.texts)
    if len(named) != 1:
        raise InvalidRequest(f"it must have {wanted}, got {' and '.join(named) or 'neither'}")
    (name,), value = named, given[named[0]]
    texts = tuple(cast("list[Any]", value)) if foreign.several and isinstance(value, list) else (value,)
    count = _count(foreign.count or "", given.get(foreign.count or "", 1))
    clips = given.get(foreign.unconditional or "")
    if clips is not None and clips != len(texts):
        raise InvalidRequest(f"{foreign.unconditional} must be the number of {name}, {len(texts)}, got {shown(clips)}")
    return {"texts": texts * count}


def _count(name: str, value: object) -> int:
    if _is_number(value) and value in range(1, MAX_TEXTS + 1):
        return int(cast("int", value))
    raise InvalidRequest(f"{name} must be an integer from 1 to {MAX_TEXTS}, got {shown(value)}")


def _translated(message: str, names: dict[str, str], prompt: str, given: Fields) -> str:
    """Return a sentence about our field with the foreign field's name."""
    for ours, name in names.items():
        message = message.replace(f"generation_params.{ours} ", f"{name} ")
    audio = "melody" if given.get("melody") else "input_audio"
    message = re.sub(r"^(continuation|melody)\.audio\.(s3|base64) ", f"{audio} ", message)
    message = re.sub(r"^continuation\.(start|end) ", r"continuation_\1 ", message)
    return message.replace("texts[0] ", f"{prompt} ").replace("texts[", f"{prompt}[")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(value: object, neutral: object) -> bool:
    """Whether two JSON values are equal, true and 1 not being so."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)
