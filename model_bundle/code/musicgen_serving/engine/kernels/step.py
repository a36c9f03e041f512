"""A decode step made of kernels: 8 launches a layer and 3 more; it allocates nothing and never waits for the device.

Every step of a run of slots uses the same addresses, so that a CUDA graph can replay it.
"""

from dataclasses import dataclass
from typing import Self

import torch

from musicgen_serving.engine.kernels.attention import AttentionInputs, SpanWorkspace, attend, attend_to_text
from musicgen_serving.engine.kernels.embedding import embed
from musicgen_serving.engine.kernels.linear import (
    NormProjection,
    ResidualProjection,
    ResidualStream,
    SplitWorkspace,
    add,
    project,
)
from musicgen_serving.engine.kernels.sampling import sample
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.decoder import ROWS, LayerKV
from musicgen_serving.engine.model.quantisation import Matrix
from musicgen_serving.engine.model.weights import DecoderWeights, LayerWeights
from musicgen_serving.engine.step.kv_cache import BatchView


@dataclass(frozen=True, kw_only=True)
class KernelLayer:
    """A layer's weights as the kernels take them."""

    qkv: NormProjection
    self_out: ResidualProjection
    cross_q: NormProjection
    cross_out: ResidualProjection
    ffn_in: NormProjection
    ffn_out: ResidualProjection

    @classmethod
    def prepare(cls, layer: LayerWeights, next_gain: torch.Tensor, next_weight: Matrix) -> Self:
        """Fold the layer's norms; `next_gain` [H] and `next_weight` are of the norm and the product after it."""
        cross_gain, ffn_gain = layer.cross_norm.weight, layer.ffn_norm.weight
        return cls(
            qkv=NormProjection.fold(layer.self_norm, layer.qkv, layer.self_out),
            self_out=ResidualProjection(
                weight=layer.self_out, even_gain=cross_gain, odd_gain=ffn_gain, next_weight=layer.cross_q
            ),
            cross_q=NormProjection.fold(layer.cross_norm, layer.cross_q, layer.cross_out, stride=ROWS),
            cross_out=ResidualProjection(
                weight=layer.cross_out, even_gain=ffn_gain, odd_gain=ffn_gain, next_weight=layer.ffn_in, stride=ROWS
            ),
            ffn_in=NormProjection.fold(layer.ffn_norm, layer.ffn_in, layer.ffn_out, gelu=True),
            ffn_out=ResidualProjection(
                weight=layer.ffn_out, even_gain=next_gain, odd_gain=next_gain, next_weight=next_weight
            ),
        )


@dataclass(frozen=True, kw_only=True)
class StepBuffers:
    """What a step of n slots writes and reads again, allocated once for each n."""

    stream: ResidualStream
    splits: SplitWorkspace
    spans: SpanWorkspace
    qkv: torch.Tensor  # [2n, 3H]
    attn_out: torch.Tensor  # [2n, H]
    queries: torch.Tensor  # [n, H]
    cross_out: torch.Tensor  # [n, H]
    inner: torch.Tensor  # [2n, F]
    logits: torch.Tensor  # [2n, K * V], float32
    sampled: torch.Tensor  # [n], int32: codebooks that have their token


class KernelStep:
    """A StepFn for slots of `positions` positions, on the device of the weights."""

    def __init__(self, config: DecoderConfig, weights: DecoderWeights, positions: int) -> None:
        self._config = config
        self._weights = weights
        self._positions = positions
        following = [(layer.self_norm.weight, layer.qkv) for layer in weights.layers[1:]]
        following.append((weights.final_norm.weight, weights.heads))
        self._layers = [
            KernelLayer.prepare(layer, *after) for layer, after in zip(weights.layers, following, strict=True)
        ]
        self._heads = NormProjection.fold(weights.final_norm, weights.heads, weights.layers[0].qkv)
        self._buffers: dict[int, StepBuffers] = {}

    @torch.inference_mode()
    def __call__(self, view: BatchView, *, max_top_k: int, use_top_p: bool) -> None:
        """Advance the active slots, as in StepFn; the kernels read each slot's own sampling bounds."""
        del max_top_k, use_top_p
        buffers = self.buffers(view.state.position.shape[0])
        embed(self._weights, view.state, buffers.stream)
        for layer, kv in zip(self._layers, view.layers, strict=True):
            self._layer(layer, kv, view, buffers)
        project(buffers.stream, self._heads, buffers.logits, buffers.splits)
        sample(buffers.logits, view.state, buffers.sampled)

    def _layer(self, layer: KernelLayer, kv: LayerKV, view: BatchView, buffers: StepBuffers) -> None:
        state, stream, splits = view.state, buffers.stream, buffers.splits
        project(stream, layer.qkv, buffers.qkv, splits)
        inputs = AttentionInputs(
            qkv=buffers.qkv, kv=kv.kv, position=state.position, active=state.active, length=view.length
        )
        attend(inputs, buffers.attn_out, buffers.spans)
        add(stream, layer.self_out, buffers.attn_out, splits)
        project(stream, layer.cross_q, buffers.queries, splits)
        attend_to_text(buffers.queries, kv.cross_keys, state.text_tokens, state.active, buffers.cross_out)
        add(stream, layer.cross_out, buffers.cross_out, splits)
        project(stream, layer.ffn_in, buffers.inner, splits)
        add(stream, layer.ffn_out, buffers.inner, splits)

    def buffers(self, slots: int) -> StepBuffers:
        """Return the buffers of a step of `slots` slots; they must exist before a graph is captured."""
        if slots not in self._buffers:
            self._buffers[slots] = self._allocate(slots)
        return self._buffers[slots]

    def _allocate(self, slots: int) -> StepBuffers:
        config, layer, heads = self._config, self._weights.layers[0], self._weights.heads
        rows, hidden, device = ROWS * slots, config.hidden, heads.device

        def zeros(rows: int, width: int, dtype: torch.dtype = heads.dtype) -> torch.Tensor:
            return torch.zeros((rows, width), device=device, dtype=dtype)

        matrices = [layer.qkv, layer.self_out, layer.cross_q, layer.cross_out, layer.ffn_in, layer.ffn_out, heads]
        return StepBuffers(
            stream=ResidualStream.allocate(rows, hidden, device, heads.dtype),
            splits=SplitWorkspace.allocate(rows, matrices, device),
            spans=SpanWorkspace.allocate(rows, config.heads, config.head_size, self._positions, device),
            qkv=zeros(rows, 3 * hidden), attn_out=zeros(rows, hidden),
            queries=zeros(slots, hidden), cross_out=zeros(slots, hidden), inner=zeros(rows, config.ffn),
            logits=zeros(rows, heads.shape[0], torch.float32),
            sampled=torch.zeros(slots, device=device, dtype=torch.int32),
        )  # fmt: skip
