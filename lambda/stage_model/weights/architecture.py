"""Whether a custom model has an architecture that the engine implements, and is no larger than the stack was sized for.

A published model needs no check: its commit and its sizes are in the stack's table. Everything is checked before any
weights are transferred. The engine's own conditions are in model_bundle/…/engine/model/config.py.
"""

import math
from collections.abc import Mapping, Sequence
from reprlib import repr  # bounded output
from typing import Any, cast

from stage_model.errors import StagingError
from stage_model.request import ModelSize
from stage_model.weights.safetensors_header import Tensor, WeightFile
from stage_model.weights.staged_shards import DECODER

_PLAIN, _MELODY = "musicgen", "musicgen_melody"  # `model_type` of a config.json that is served
_CHROMA_FRAMES, _CHROMA_BINS = 235, 12  # of a melody model whose config.json does not say: transformers' defaults
EXTRACTOR, _PROCESSOR = "preprocessor_config.json", "processor_config.json"
EXTRACTORS = (EXTRACTOR, _PROCESSOR)  # where a feature extractor may be: transformers 5 saves it with its processor
# What the engine computes chroma with (engine/model/chroma.py): the defaults of transformers' extractor.
_CHROMA = {"n_fft": 16384, "hop_length": 4096, "num_chroma": _CHROMA_BINS, "chunk_length": 30}
_CODEBOOKS, _CODES = 4, 2048  # of a channel; the most of a codebook, for which the output heads are sized
_FRAME_RATE = 50  # a second: the API converts seconds to tokens with it
_FFN = 4  # the widest feed-forward layer, in widths of the model
_DTYPES = ("F32", "F16", "BF16")
# One tensor under two names, counted once: https://github.com/huggingface/transformers (T5EncoderModel's tied weights).
_TIED = ("text_encoder.shared.weight", "text_encoder.encoder.embed_tokens.weight")


class _Part:
    """A part of a JSON file: its fields, checked one by one. Raises StagingError."""

    def __init__(self, path: str, fields: Mapping[str, Any], file: str = "config.json") -> None:
        self.path, self._fields, self._file = path, fields, file

    def part(self, name: str) -> "_Part":
        """Return the object in a field."""
        found = self._fields.get(name)
        if not isinstance(found, dict):
            raise self.error(name, "an object", found)
        return _Part(f"{self.path}{name}.", cast(dict[str, Any], found), self._file)

    def require(self, name: str, *allowed: object, default: object = None) -> None:
        """Raise StagingError unless a field has one of these values."""
        found = self._fields.get(name, default)
        if found not in allowed or type(found) not in map(type, allowed):
            raise self.error(name, " or ".join(map(str, allowed)), found)

    def number(self, name: str, default: int | None = None) -> int:
        """Return a positive whole number."""
        found = self._fields.get(name, default)
        if type(found) is not int or not 1 <= found < 1 << 31:
            raise self.error(name, "a positive whole number", found)
        return found

    def numbers(self, name: str) -> list[int]:
        """Return a short list of positive whole numbers."""
        found: object = self._fields.get(name)
        values = cast(list[object], found) if isinstance(found, list) else [None]
        if len(values) > 16 or not all(type(value) is int and 1 <= value < 1 << 16 for value in values):
            raise self.error(name, "a list of positive whole numbers", values)
        return cast(list[int], values)

    def error(self, name: str, wanted: object, found: object) -> StagingError:
        return StagingError(f"{self._file}'s {self.path}{name} must be {wanted}, got {repr(found)}")


def check_config(document: object, size: ModelSize) -> None:
    """Raise StagingError unless a config.json describes a model that can be served on an instance of this size."""
    if not isinstance(document, dict):
        raise StagingError(f"config.json must be a JSON object, got {repr(document)}")
    config = _Part("", cast(dict[str, Any], document))
    config.require("model_type", _PLAIN, _MELODY)
    _check_kind(config, size)
    text, audio, decoder = config.part("text_encoder"), config.part("audio_encoder"), config.part("decoder")
    text.require("model_type", "t5")
    audio.require("model_type", "encodec")
    decoder.require("activation_function", "gelu", default="gelu")
    decoder.require("scale_embedding", False, default=False)
    channels, vocabulary = decoder.number("audio_channels", 1), decoder.number("vocab_size")
    decoder.require("num_codebooks", _CODEBOOKS * channels)
    decoder.require("pad_token_id", vocabulary)  # the row after the codes, in each embedding
    if vocabulary > _CODES:
        raise decoder.error("vocab_size", f"at most {_CODES}", vocabulary)
    audio.require("codebook_size", vocabulary)
    audio.require("audio_channels", 1, default=1)  # a stereo model's sides are decoded one by one
    audio.require("normalize", False, default=False)
    rate, frame = audio.number("sampling_rate"), math.prod(audio.numbers("upsampling_ratios"))
    if rate != frame * _FRAME_RATE:
        raise audio.error("sampling_rate", f"{_FRAME_RATE} times the product {frame} of upsampling_ratios", rate)
    width, heads = decoder.number("hidden_size"), decoder.number("num_attention_heads")
    if width % heads:
        raise decoder.error("num_attention_heads", f"a divisor of hidden_size {width}", heads)
    for name, value, limit in (
        ("num_hidden_layers", decoder.number("num_hidden_layers"), size.layers),
        ("hidden_size", width, size.hidden_size),
        ("ffn_dim", decoder.number("ffn_dim"), _FFN * size.hidden_size),
        ("audio_channels", channels, size.audio_channels),
    ):
        if value > limit:
            raise StagingError(f"config.json's decoder.{name} must be at most {limit}, got {value}: {_remedy(size)}")


def check_extractor(file: str, document: object, size: ModelSize) -> None:
    """Raise StagingError if the extractor in one of `EXTRACTORS` has another chroma than the engine computes."""
    if not size.melody:
        return
    if not isinstance(document, dict):
        raise StagingError(f"{file} must be a JSON object, got {repr(document)}")
    extractor = _Part("", cast(dict[str, Any], document), file)
    if file == _PROCESSOR:
        if "feature_extractor" not in document:
            return
        extractor = extractor.part("feature_extractor")
    for name, value in _CHROMA.items():
        extractor.require(name, value, default=value)


def _check_kind(config: _Part, size: ModelSize) -> None:
    """Raise StagingError unless the model follows melodies if the stack is sized for one that does.

    The two kinds hold different pages for a clip, and have different matrices for the same width and layers.
    """
    try:
        config.require("model_type", _MELODY if size.melody else _PLAIN)
    except StagingError as error:
        kind = "another model than a melody model" if size.melody else "a melody model"
        reason = f"the stack is sized for {size.like}; set model_like to {kind} that is as large"
        raise StagingError(f"{error}: {reason}") from error
    if not size.melody:
        return
    if (frames := config.number("chroma_length", _CHROMA_FRAMES)) > size.chroma_frames:
        raise StagingError(
            f"config.json's chroma_length must be at most {size.chroma_frames}, got {frames}: {_remedy(size)}"
        )
    config.require("num_chroma", _CHROMA_BINS, default=_CHROMA_BINS)


def check_elements(files: Sequence[WeightFile], size: ModelSize) -> None:
    """Raise StagingError unless all tensors are within the size, and the decoder's are of types that the engine reads.

    A tensor that several names share counts once.
    """
    counted: dict[tuple[str, int, int, str], Tensor] = {}
    for file in files:
        for tensor in file.tensors:
            name = _TIED[0] if tensor.name in _TIED else ""
            if tensor.name.startswith(DECODER) and tensor.dtype not in _DTYPES:
                raise StagingError(f"{tensor.name:.100} must be one of {', '.join(_DTYPES)}, got {tensor.dtype}")
            key = ("", 0, tensor.count, name) if name else (file.path, tensor.start, tensor.count, "")
            counted[key] = tensor
    decoder = sum(tensor.count for tensor in counted.values() if tensor.name.startswith(DECODER))
    other = sum(tensor.count for tensor in counted.values()) - decoder
    for what, found, limit in (
        ("the decoder", decoder, size.decoder_elements),
        ("the text encoder and EnCodec", other, size.other_elements),
    ):
        if found > limit:
            raise StagingError(f"{what} must have at most {limit} elements, got {found}: {_remedy(size)}")


def _remedy(size: ModelSize) -> str:
    return f"the stack is sized for {size.like}; set model_like to a published model that is as large"
