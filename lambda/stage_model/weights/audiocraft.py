"""Converts what audiocraft exports, `state_dict.bin` and `compression_state_dict.bin`, to the names of `transformers`.

Tensors keep their bytes: they get other names, and a fused projection becomes three. Audiocraft's files hold neither
the text encoder nor, if the codec is a published one, EnCodec: these, their configuration and the tokenizer come from
a published model, the companion. The names are those of audiocraft's `LMModel` and `EncodecModel`, and of
`convert_musicgen_transformers.py` in `transformers`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from reprlib import repr  # bounded output
from typing import Any, cast

from stage_model.errors import StagingError
from stage_model.weights.export_settings import ExportSettings
from stage_model.weights.file_selection import AUDIOCRAFT
from stage_model.weights.safetensors_header import Tensor, WeightFile
from stage_model.weights.torch_zip import Package

LANGUAGE_MODEL, COMPRESSION = AUDIOCRAFT
TEXT_ENCODER, CODEC = "text_encoder.", "audio_encoder."
PUBLISHED_CODEC = "facebook/encodec_32khz"  # that of all published models, and so of the companion
_TEXT_ENCODER_NAME = "t5-base"
_MAX_LAYERS = 1000
_PROJECTION = "condition_provider.conditioners.description.output_proj"
_ATTENTIONS = {"self_attn": "self_attn", "cross_attention": "encoder_attn"}
_NORMS = {"norm1": "self_attn_layer_norm", "norm_cross": "encoder_attn_layer_norm", "norm2": "final_layer_norm"}
# Weight normalisation's two tensors, as torch named them before and after 2.0.
_WEIGHT_NORM = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}


@dataclass(frozen=True)
class Converted:
    """All weights under the names of `transformers`, and their config.json."""

    weights: Sequence[WeightFile]
    config: bytes
    channels: int


def convert(
    language_model: Package, compression: Package, companion: Sequence[WeightFile], config: Mapping[str, Any]
) -> Converted:
    """Return the model that a pair of exported files describes; `companion` and `config` are a published model's.

    Raises StagingError, naming what this engine does not implement or what is missing.
    """
    if language_model.state is None:
        raise StagingError(
            f"{LANGUAGE_MODEL} must hold a language model, got the name {language_model.pretrained!r:.100}"
        )
    decoder, sizes = _language_model(language_model.state)
    settings = ExportSettings(LANGUAGE_MODEL, language_model.config)
    channels = _check_settings(settings, sizes, config)
    heads = settings.number("transformer_lm.num_heads")
    audio = dict(_object(config, "audio_encoder"))
    weights = [decoder]
    if compression.state is None:
        if compression.pretrained != PUBLISHED_CODEC:
            raise StagingError(f"{COMPRESSION} must name {PUBLISHED_CODEC}, got {compression.pretrained!r:.100}")
        weights += _selected(companion, (TEXT_ENCODER, CODEC))
    else:
        weights.append(_codec(compression.state, companion))
        audio |= _codec_settings(ExportSettings(COMPRESSION, compression.config), audio)
        weights += _selected(companion, (TEXT_ENCODER,))
    described = {
        **_object(config, "decoder"), "num_hidden_layers": sizes.layers, "hidden_size": sizes.width,
        "num_attention_heads": heads, "ffn_dim": sizes.ffn, "vocab_size": sizes.codes, "num_codebooks": sizes.codebooks,
        "audio_channels": channels, "pad_token_id": sizes.codes, "bos_token_id": sizes.codes,
    }  # fmt: skip
    document = {**config, "audio_encoder": audio, "decoder": described}
    return Converted(weights, json.dumps(document, indent=2).encode() + b"\n", channels)


@dataclass(frozen=True)
class _Sizes:
    layers: int
    width: int
    ffn: int
    codes: int
    codebooks: int
    text_width: int


class _Names:
    """Tensors by their name in audiocraft. Each is taken once, with the shape that it must have."""

    def __init__(self, file: WeightFile) -> None:
        self._path = file.path
        # torch.nn.MultiheadAttention, which audiocraft uses without memory-efficient attention, has the same tensors.
        self._left = {re.sub(r"(self_attn|cross_attention)\.mha\.", r"\1.", t.name): t for t in file.tensors}
        self.staged: list[Tensor] = []

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Return the shape of a tensor. Raises StagingError without one of that many dimensions."""
        tensor = self._left.get(name)
        if tensor is None or len(tensor.shape) != dimensions or 0 in tensor.shape:
            got = "none" if tensor is None else f"the shape {list(tensor.shape)}"
            raise StagingError(f"{self._path} must hold {name} with {dimensions} dimensions, got {got}")
        return tensor.shape

    def count(self, pattern: str) -> int:
        """Return how many consecutive indices from 0 on the names of this pattern have."""
        found = {int(match[1]) for name in self._left if (match := re.fullmatch(pattern, name))}
        if not found or found != set(range(len(found))) or len(found) > _MAX_LAYERS:
            raise StagingError(
                f"{self._path} must hold tensors named {pattern} with indices from 0 on, got {repr(sorted(found))}"
            )
        return len(found)

    def take(self, name: str, shape: tuple[int, ...], *staged: str) -> None:
        """Stage a tensor under another name, or its equal parts along the first dimension under several."""
        tensor = self._left.pop(name, None)
        if tensor is None or tensor.shape != shape:
            got = "none" if tensor is None else list(tensor.shape)
            raise StagingError(f"{self._path} must hold {name} of the shape {list(shape)}, got {got}")
        part = tensor.nbytes // len(staged)
        for index, other in enumerate(staged):
            start = index * part
            data = None if tensor.data is None else tensor.data[start : start + part]
            sizes = (shape[0] // len(staged), *shape[1:])
            self.staged.append(Tensor(other, tensor.dtype, sizes, tensor.start + start, data))

    def end(self) -> None:
        """Raise StagingError if a tensor is left."""
        for name in self._left:
            if name.startswith("condition_provider.") and not name.startswith(_PROJECTION):
                raise StagingError(
                    f"{self._path} must be conditioned by text only, through a frozen T5, got {name:.100}: models that "
                    "follow a melody or style are not converted"
                )
            raise StagingError(f"{self._path} must hold MusicGen's tensors only, got {name:.100}")


def _language_model(file: WeightFile) -> tuple[WeightFile, _Sizes]:
    """Return the decoder and the projection of the text under the names of `transformers`."""
    names, root = _Names(file), "decoder.model.decoder."
    codebooks, layers = (
        names.count(r"emb\.([0-9]{1,4})\.weight"),
        names.count(r"transformer\.layers\.([0-9]{1,4})\.linear1\.weight"),
    )
    rows, width = names.shape("emb.0.weight", 2)
    ffn, text_width = (
        names.shape("transformer.layers.0.linear1.weight", 2)[0],
        names.shape(f"{_PROJECTION}.weight", 2)[1],
    )
    sizes = _Sizes(layers, width, ffn, rows - 1, codebooks, text_width)
    for index in range(codebooks):
        names.take(f"emb.{index}.weight", (rows, width), f"{root}embed_tokens.{index}.weight")
        names.take(f"linears.{index}.weight", (rows - 1, width), f"decoder.lm_heads.{index}.weight")
    for index in range(layers):
        theirs, ours = f"transformer.layers.{index}.", f"{root}layers.{index}."
        for name, other in _ATTENTIONS.items():
            fused = [f"{ours}{other}.{projection}_proj.weight" for projection in "qkv"]
            names.take(f"{theirs}{name}.in_proj_weight", (3 * width, width), *fused)
            names.take(f"{theirs}{name}.out_proj.weight", (width, width), f"{ours}{other}.out_proj.weight")
        names.take(f"{theirs}linear1.weight", (ffn, width), f"{ours}fc1.weight")
        names.take(f"{theirs}linear2.weight", (width, ffn), f"{ours}fc2.weight")
        for name, other in _NORMS.items():
            for kind in ("weight", "bias"):
                names.take(f"{theirs}{name}.{kind}", (width,), f"{ours}{other}.{kind}")
    for kind in ("weight", "bias"):
        names.take(f"out_norm.{kind}", (width,), f"{root}layer_norm.{kind}")
    names.take(f"{_PROJECTION}.weight", (width, text_width), "enc_to_dec_proj.weight")
    names.take(f"{_PROJECTION}.bias", (width,), "enc_to_dec_proj.bias")
    names.end()
    return replace(file, tensors=names.staged), sizes


def _check_settings(settings: ExportSettings, sizes: _Sizes, config: Mapping[str, Any]) -> int:
    """Return the number of audio channels. Raises StagingError for a setting that the engine does not implement."""
    for name, value in (("dim", sizes.width), ("num_layers", sizes.layers), ("n_q", sizes.codebooks),
                        ("card", sizes.codes)):  # fmt: skip
        settings.require(f"transformer_lm.{name}", str(value))
    settings.require("transformer_lm.activation", "gelu")
    settings.require("transformer_lm.norm_first", "true")
    settings.require("transformer_lm.positional_embedding", "sin", optional=True)
    settings.require("transformer_lm.past_context", "null", optional=True)
    settings.require("transformer_lm.causal", "true", optional=True)
    settings.require("conditioners.description.t5.name", _TEXT_ENCODER_NAME)
    settings.require("conditioners.description.t5.normalize_text", "false", optional=True)
    settings.require("codebooks_pattern.modeling", "delay")
    stereo = settings.get("interleave_stereo_codebooks.use") == "true"
    channels = 2 if stereo else 1
    delays = ",".join(str(codebook // channels) for codebook in range(sizes.codebooks))
    settings.require("codebooks_pattern.delay.delays", delays, optional=True)
    text_width, codes = _object(config, "text_encoder").get("d_model"), _object(config, "decoder").get("vocab_size")
    if (sizes.text_width, sizes.codes) != (text_width, codes):
        raise StagingError(
            f"{LANGUAGE_MODEL} must be for texts of the width {text_width!r:.20} and {codes!r:.20} codes, as the "
            f"companion is, got {sizes.text_width} and {sizes.codes}"
        )
    if sizes.width == sizes.text_width:  # transformers then has no projection
        raise StagingError(f"{LANGUAGE_MODEL} must have a width other than the text encoder's, got {sizes.width}")
    return channels


def _codec(file: WeightFile, companion: Sequence[WeightFile]) -> WeightFile:
    """Return EnCodec's tensors under the companion's names. Raises StagingError if its architecture is another."""
    wanted = {_plain(t.name): t for part in companion for t in part.tensors if t.name.startswith(CODEC)}
    staged: list[Tensor] = []
    for tensor in file.tensors:
        same = wanted.pop(_plain(CODEC + _codec_name(tensor.name)), None)
        if same is None or same.shape != tensor.shape:
            got = f"{tensor.name:.100} of the shape {list(tensor.shape)}"
            raise StagingError(f"{COMPRESSION} must hold a model of {PUBLISHED_CODEC}'s architecture, got {got}")
        staged.append(replace(tensor, name=same.name))
    if wanted:
        raise StagingError(
            f"{COMPRESSION} must hold a model of {PUBLISHED_CODEC}'s architecture, lacks {sorted(wanted)[0]:.100}"
        )
    return replace(file, tensors=staged)


def _codec_name(name: str) -> str:
    name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
    name = re.sub(r"\.(?:conv\.conv|convtr\.convtr)\.", ".conv.", name)
    return re.sub(r"^quantizer\.vq\.layers\.([0-9]{1,4})\._codebook\.", r"quantizer.layers.\1.codebook.", name)


def _plain(name: str) -> str:
    for new, old in _WEIGHT_NORM.items():
        if name.endswith(new):
            return name.removesuffix(new) + old
    return name


def _codec_settings(settings: ExportSettings, audio: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of EnCodec's configuration that shapes do not show."""
    settings.require("encodec.renormalize", "false", optional=True)
    settings.require("encodec.causal", str(bool(audio.get("use_causal_conv"))).lower(), optional=True)
    settings.require("seanet.activation", "ELU", optional=True)
    settings.require("sample_rate", str(audio.get("sampling_rate")), optional=True)
    mode = settings.get("seanet.pad_mode")
    if mode not in (None, "constant", "reflect"):
        raise settings.error("seanet.pad_mode", "constant or reflect", mode)
    return {} if mode is None else {"pad_mode": mode}


def _selected(files: Sequence[WeightFile], prefixes: tuple[str, ...]) -> list[WeightFile]:
    """Return the files with the tensors of these names only. Raises StagingError if there are none of a prefix."""
    chosen = [replace(f, tensors=[t for t in f.tensors if t.name.startswith(prefixes)], selected=True) for f in files]
    chosen = [file for file in chosen if file.tensors]
    for prefix in prefixes:
        if not any(tensor.name.startswith(prefix) for file in chosen for tensor in file.tensors):
            raise StagingError(f"the companion must hold tensors named {prefix}*, got none")
    return chosen


def _object(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    if not isinstance(found, dict):
        raise StagingError(f"the companion's config.json must have an object {name}, got {repr(found)}")
    return cast(dict[str, Any], found)
