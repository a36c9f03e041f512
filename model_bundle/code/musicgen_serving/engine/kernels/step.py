"""A decode step made of kernels: 8 launches a layer and 3 besides, nothing allocated, nothing asked of the device.

Everything is at the same address in every step of a run of slots, so that a CUDA graph may replay it.
"""

from dataclasses import dataclass
from typing import Self

import torch

from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.decoder_weights import DecoderWeights, LayerWeights
from musicgen_serving.engine.kernels.attending import Spans, attend, attend_to_text
from musicgen_serving.engine.kernels.drawing import draw, embed
from musicgen_serving.engine.kernels.projections import Folded, Scratch, Stream, add, project
from musicgen_serving.engine.quantised import Matrix
from musicgen_serving.engine.slots import ROWS
from musicgen_serving.engine.window import LayerViews, Window


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer's weights with what the kernels want of them beyond."""

    weights: LayerWeights
    qkv: Folded
    cross_q: Folded
    ffn_in: Folded
    next_gain: torch.Tensor  # [H], of the norm after this layer
    next_matrix: Matrix  # that follows it

    @classmethod
    def of(cls, weights: LayerWeights, next_gain: torch.Tensor, next_matrix: Matrix) -> Self:
        """For a layer, and the norm's gain and the matrix that come after it."""
        return cls(
            weights=weights, next_gain=next_gain, next_matrix=next_matrix,
            qkv=Folded.of(weights.self_norm, weights.qkv), cross_q=Folded.of(weights.cross_norm, weights.cross_q),
            ffn_in=Folded.of(weights.ffn_norm, weights.ffn_in),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Buffers:
    """What a step of n slots writes and reads again, made once for each n."""

    stream: Stream
    scratch: Scratch
    spans: Spans
    qkv: torch.Tensor  # [2n, 3H]
    seen: torch.Tensor  # [2n, H], of what was played
    queries: torch.Tensor  # [n, H]
    heard: torch.Tensor  # [n, H], of the text
    inner: torch.Tensor  # [2n, F]
    logits: torch.Tensor  # [2n, K * V], float32
    drawn: torch.Tensor  # [n], int32: how many codebooks are


class KernelStep:
    """Advances windows of the slots that have `positions` places in their caches, on the device of the weights."""

    def __init__(self, config: DecoderConfig, weights: DecoderWeights, positions: int) -> None:
        self._config = config
        self._weights = weights
        self._positions = positions
        follow = [(layer.self_norm.weight, layer.qkv) for layer in weights.layers[1:]]
        follow.append((weights.final_norm.weight, weights.heads))
        self._layers = [Layer.of(layer, *after) for layer, after in zip(weights.layers, follow, strict=True)]
        self._heads = Folded.of(weights.final_norm, weights.heads)
        self._buffers: dict[int, Buffers] = {}

    @torch.inference_mode()
    def __call__(self, window: Window, *, most: int, use_top_p: bool) -> None:
        """Feed every active slot's tokens at its position, write those after it, advance it by one.

        The kernels read each slot's own limits: `most` and `use_top_p` are for a step that cannot.
        """
        del most, use_top_p
        state = window.state
        buffers = self.buffers(state.position.shape[0])
        embed(self._weights, state, state.active, buffers.stream)
        for layer, views in zip(self._layers, window.layers, strict=True):
            self._layer(layer, views, window, buffers)
        first, heads = self._layers[0].weights.qkv, self._weights.heads
        project(buffers.stream, self._heads, heads, buffers.logits, buffers.scratch, then=first)
        draw(buffers.logits, state, state.active, buffers.drawn)

    def _layer(self, layer: Layer, views: LayerViews, window: Window, buffers: Buffers) -> None:
        weights, state, stream, scratch = layer.weights, window.state, buffers.stream, buffers.scratch
        cross_gain, ffn_gain = weights.cross_norm.weight, weights.ffn_norm.weight
        project(stream, layer.qkv, weights.qkv, buffers.qkv, scratch, then=weights.self_out)
        attend(buffers.qkv, views.cache, state.position, state.active, buffers.seen, buffers.spans, window.length)
        add(stream, buffers.seen, weights.self_out, (cross_gain, ffn_gain), scratch, then=weights.cross_q)
        project(stream, layer.cross_q, weights.cross_q, buffers.queries, scratch, then=weights.cross_out, step=ROWS)
        attend_to_text(buffers.queries, views.cross_keys, state.text_tokens, state.active, buffers.heard)
        add(stream, buffers.heard, weights.cross_out, (ffn_gain, ffn_gain), scratch, then=weights.ffn_in, step=ROWS)
        project(stream, layer.ffn_in, weights.ffn_in, buffers.inner, scratch, then=weights.ffn_out, gelu=True)
        add(stream, buffers.inner, weights.ffn_out, (layer.next_gain, layer.next_gain), scratch, then=layer.next_matrix)

    def buffers(self, slots: int) -> Buffers:
        """The buffers of a step of so many slots, which must be there before a graph is captured."""
        if slots not in self._buffers:
            self._buffers[slots] = self._allocate(slots)
        return self._buffers[slots]

    def _allocate(self, slots: int) -> Buffers:
        config, layer, heads = self._config, self._weights.layers[0], self._weights.heads
        rows, hidden, device = ROWS * slots, config.hidden, heads.device

        def zeros(rows: int, width: int, dtype: torch.dtype = heads.dtype) -> torch.Tensor:
            return torch.zeros((rows, width), device=device, dtype=dtype)

        matrices = [layer.qkv, layer.self_out, layer.cross_q, layer.cross_out, layer.ffn_in, layer.ffn_out, heads]
        return Buffers(
            stream=Stream.empty(rows, hidden, device, heads.dtype),
            scratch=Scratch.empty(rows, matrices, device),
            spans=Spans.empty(rows, config.heads, config.head_size, self._positions, device),
            qkv=zeros(rows, 3 * hidden), seen=zeros(rows, hidden),
            queries=zeros(slots, hidden), heard=zeros(slots, hidden), inner=zeros(rows, config.ffn),
            logits=zeros(rows, heads.shape[0], torch.float32),
            drawn=torch.zeros(slots, device=device, dtype=torch.int32),
        )  # fmt: skip
