"""The sizes of MusicGen's language model, read from a checkpoint's `config.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen_serving.engine.sampling_params import DELAY_TOKENS

MELODY = "musicgen_melody"
MODEL_TYPES = ("musicgen", MELODY)


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The decoder's sizes; `pad_token` is also every codebook's start token.

    A melody model's decoder reads a prefix, `chroma_frames` of a melody and then the text, instead of attending to the
    text in every layer.
    """

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocabulary: int
    codebooks: int
    channels: int
    pad_token: int
    chroma_frames: int = 0  # of a melody model's prefix; 0: another model
    chroma_bins: int = 0  # pitch classes of each

    @property
    def melody(self) -> bool:
        """Whether this is a melody model."""
        return self.chroma_frames > 0

    @property
    def head_size(self) -> int:
        """The width of one attention head."""
        return self.hidden // self.heads

    @property
    def delays(self) -> tuple[int, ...]:
        """Steps by which each codebook lags (MusicGen, section 2.2); stereo interleaves its sides: 0, 0, 1, 1, …"""
        return tuple(codebook // self.channels for codebook in range(self.codebooks))


def read_config(folder: Path) -> dict[str, Any]:
    """Read the checkpoint's `config.json`; raise ValueError unless its architecture is MusicGen, melody or not."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") not in MODEL_TYPES:
        allowed = " or ".join(map(repr, MODEL_TYPES))
        raise ValueError(f"config.json must have model_type {allowed}, got {config.get('model_type')!r}")
    return config


def decoder_config(config: dict[str, Any]) -> DecoderConfig:
    """Return the decoder's sizes; raise ValueError for options that this engine does not implement."""
    decoder = config["decoder"]
    for name, value in (("activation_function", "gelu"), ("scale_embedding", False)):
        if decoder.get(name, value) != value:
            raise ValueError(f"config.json's decoder.{name} must be {value!r}, got {decoder[name]!r}")
    codebooks, channels = decoder["num_codebooks"], decoder.get("audio_channels", 1)
    if codebooks != (DELAY_TOKENS + 1) * channels:  # the API converts seconds to tokens with this delay
        wanted = f"{DELAY_TOKENS + 1} for each of its {channels} audio_channels"
        raise ValueError(f"config.json's decoder.num_codebooks must be {wanted}, got {codebooks}")
    melody = config["model_type"] == MELODY
    return DecoderConfig(
        layers=decoder["num_hidden_layers"],
        hidden=decoder["hidden_size"],
        heads=decoder["num_attention_heads"],
        ffn=decoder["ffn_dim"],
        vocabulary=decoder["vocab_size"],
        codebooks=codebooks,
        channels=channels,
        pad_token=decoder["pad_token_id"],
        chroma_frames=config.get("chroma_length", 235) if melody else 0,  # defaults of transformers
        chroma_bins=config.get("num_chroma", 12) if melody else 0,
    )
