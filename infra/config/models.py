"""The MusicGen models that the stack can serve: their default commit, and what their weights and KV pages take.

`model_bundle/…/engine/model/memory.py` has the same formula of memory; tests/model_bundle/engine/model/test_memory.py
holds the two equal. This one needs neither torch nor the bundle.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from infra.config.setting_rules import ConfigError, did_you_mean

_TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("models.json").read_text(encoding="utf-8"))

SERVED_MODELS: list[str] = list(_TABLE["models"])  # the Hub ids of the published models
COMPANION = "facebook/musicgen-small"  # whose text encoder, EnCodec and tokenizer complete what audiocraft exports

DTYPE_BYTES = {"float16": 2, "float32": 4}
MAX_STEPS = 1503  # tokens of the longest clip: 30 s at 50 a second, and three for the delay pattern
TEXT_TOKENS = 128  # of a text that takes one page, which few exceed
MAX_TEXT_TOKENS = 512  # that the engine accepts

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_GUIDANCE_ROWS = 2  # classifier-free guidance decodes a conditional and an unconditional row
_PAGE_POSITIONS = 64  # of the engine's KV cache; a page holds as many positions of both rows, or twice as many tokens
_TEXT_PAGE_TOKENS = _GUIDANCE_ROWS * _PAGE_POSITIONS  # a text is cached for the conditional row only
_CODEBOOKS, _CODES = 4, 2048  # of a channel, and of a codebook: the widths of the output heads
_SLOT_BYTES = 55  # parameters of a slot of the engine


class ElementBytes(NamedTuple):
    """Bytes of an element of a loaded decoder: the layers' matrices, the others, everything else.

    Scales are what an 8-bit matrix of a layer has for each of its outputs.
    """

    layers: int  # but the second feed-forward matrix
    ffn_out: int
    others: int  # the output heads, and the cross-attention's keys and values of the text
    rest: int  # embeddings, norms and activations
    scales: int = 0


# By device, and the kind of weights: a CPU multiplies matrices of any kind with activations in float32.
ELEMENT_BYTES = {
    ("cuda", "float16"): ElementBytes(2, 2, 2, 2),
    ("cuda", "float32"): ElementBytes(4, 4, 4, 4),
    ("cuda", "int8"): ElementBytes(1, 1, 2, 2, scales=4),
    ("cpu", "float16"): ElementBytes(2, 2, 2, 4),
    ("cpu", "float32"): ElementBytes(4, 4, 4, 4),
    ("cpu", "int8"): ElementBytes(1, 2, 2, 4, scales=12),  # FBGEMM also keeps a zero point and a sum
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """One published checkpoint, or a custom one sized as the published model `like`. Counts are elements, not bytes."""

    model_id: str
    revision: str | None  # commit served by default; None if the configuration must name one
    published_dtype: str  # of all weights that staging selects
    audio_channels: int  # 1, or 2 in stereo
    layers: int
    hidden_size: int
    decoder_parameters: int
    decoder_buffers: int
    other_parameters: int  # text encoder, projection and EnCodec
    other_buffers: int
    chroma_frames: int = 0  # of a melody model, which reads them and the text before a clip's first position
    like: str | None = None

    @property
    def codebooks(self) -> int:
        """The token streams of a clip: EnCodec's four for each channel."""
        return _CODEBOOKS * self.audio_channels

    def staged_bytes(self, decoder_dtype: str) -> int:
        """Return the size of the staged weights: as published, but the decoder in `decoder_dtype` if that is smaller.

        With float32 it is the size of the published files: staging casts down only. A custom model's may keep float32
        in any case, if float16 would change its values.
        """
        if self.like is not None:
            decoder_dtype = "float32"
        published = DTYPE_BYTES[self.published_dtype]
        decoder = (self.decoder_parameters + self.decoder_buffers) * min(published, DTYPE_BYTES[decoder_dtype])
        return decoder + (self.other_parameters + self.other_buffers) * published

    @property
    def other_bytes(self) -> int:
        """The size of the loaded text encoder, its projection and EnCodec: float32, however they were published."""
        return (self.other_parameters + self.other_buffers) * DTYPE_BYTES["float32"]

    def decoder_bytes(self, element: ElementBytes) -> int:
        """Return the size of the loaded decoder, with the position embeddings of the longest clip and text."""
        text = 0 if self.chroma_frames else 2 * self.layers * self.hidden_size**2  # projections to keys and values
        squares = self._attention + 8  # of a layer: see _layers_bytes
        matrices = self.layers * squares * self.hidden_size**2 + text + self._heads
        rest = self.decoder_parameters - matrices + self._max_positions * self.hidden_size
        return self._layers_bytes(element) + (text + self._heads) * element.others + rest * element.rest

    def step_bytes(self, element: ElementBytes) -> int:
        """Return what a decode step reads of the weights: the layers and the output heads.

        Not the embeddings, of which it reads a few rows, nor the projections of the text, which is done once per clip.
        """
        norms = (self.layers * (2 if self.chroma_frames else 3) + 1) * 2 * self.hidden_size
        return self._layers_bytes(element) + self._heads * element.others + norms * element.rest

    @property
    def _heads(self) -> int:
        return self.codebooks * _CODES * self.hidden_size

    @property
    def _attention(self) -> int:
        """The square matrices of a layer that every step reads: q, k, v and out; cross-attention's q and out."""
        return 4 if self.chroma_frames else 6

    @property
    def _max_positions(self) -> int:
        return self.prefix_positions(MAX_TEXT_TOKENS) + MAX_STEPS

    def _layers_bytes(self, element: ElementBytes) -> int:
        """Return the size of the square matrices, the feed-forward's first, and its second."""
        outputs = self._attention + (5 if element.ffn_out == 1 else 4)  # in units of the width, and in 8 bits, if any
        matrices = self.hidden_size**2 * ((self._attention + 4) * element.layers + 4 * element.ffn_out)
        return self.layers * (matrices + self.hidden_size * outputs * element.scales)

    def position_bytes(self, itemsize: int) -> int:
        """Return the self-attention's keys and values of one position of a clip: 2 x layers x width x rows."""
        return 2 * self.layers * self.hidden_size * _GUIDANCE_ROWS * itemsize

    def page_bytes(self, itemsize: int) -> int:
        """Return the size of a page of the engine's KV cache."""
        return _PAGE_POSITIONS * self.position_bytes(itemsize)

    @property
    def slot_bytes(self) -> int:
        """The size of a slot's tokens (int64), page tables and parameters, for the longest clip and texts."""
        texts = 0 if self.chroma_frames else _GUIDANCE_ROWS * -(-MAX_TEXT_TOKENS // _TEXT_PAGE_TOKENS)
        tables = 4 * (-(-self._max_positions // _PAGE_POSITIONS) + texts)
        return 8 * self.codebooks * (self._max_positions + 1) + tables + _SLOT_BYTES

    def prefix_positions(self, text_tokens: int = TEXT_TOKENS) -> int:
        """Return the positions before a clip's first: a melody model's chroma and text, at least one of which."""
        return self.chroma_frames + max(1, text_tokens) if self.chroma_frames else 0

    def clip_pages(self, steps: int = MAX_STEPS, text_tokens: int = TEXT_TOKENS) -> int:
        """Return the pages that a clip holds; by default one of 30 s with a text of up to 128 tokens."""
        positions = -(-(self.prefix_positions(text_tokens) + steps) // _PAGE_POSITIONS)
        return positions if self.chroma_frames else positions - (-text_tokens // _TEXT_PAGE_TOKENS)


def check_commit(model_id: str, commit: str) -> None:
    """Raise ConfigError if `commit` is known to be one of another model."""
    for other, entry in _TABLE["models"].items():
        if commit and commit == entry["revision"] and other != model_id:
            raise ConfigError(f"revision must be a commit of {model_id}, got {commit}, which is one of {other}")


def find_model(model_id: str, like: str = "") -> Model:
    """Return the published model of a Hub id such as `facebook/musicgen-large`, or a custom one of the size of `like`.

    Raise ConfigError if it cannot be served.
    """
    allowed = f"model_id must be one of {', '.join(SERVED_MODELS)}, got {model_id}"
    if model_id in _TABLE["models"]:
        if like:
            raise ConfigError(f"model_like must be empty for {model_id}, whose size is known, got {like!r}")
        return Model(model_id=model_id, **_entry(model_id))
    if not _HUB_ID.fullmatch(model_id) or model_id.startswith("facebook/"):
        raise ConfigError(f"{allowed}{did_you_mean(model_id, SERVED_MODELS)}")
    if not like:
        raise ConfigError(f"{allowed}; for a model of your own set model_like to the one of these that is as large")
    if like not in _TABLE["models"]:
        allowed = f"model_like must be one of {', '.join(SERVED_MODELS)}, got {like}"
        raise ConfigError(f"{allowed}{did_you_mean(like, SERVED_MODELS)}")
    largest = Model(model_id=model_id, like=like, **_entry(like))
    return replace(largest, revision=None, published_dtype="float32")


def _entry(model_id: str) -> dict[str, Any]:
    return {key: value for key, value in _TABLE["models"][model_id].items() if key != "revision_source"}
