"""A decode step made of kernels: 8 launches a layer and 3 more; it allocates nothing and never waits for the device.

A melody model has no cross-attention, and so 5 launches a layer.

Every step of a run of slots uses the same addresses, so that a CUDA graph can replay it.
"""

from copy import copy

import torch

from musicgen_serving.engine.kernels.attention import SpanWorkspace, attend, attend_to_text
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
from musicgen_serving.engine.kernels.tiles import DEFAULT_TILES, TileTable
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.memory import ROWS
from musicgen_serving.engine.model.quantisation import Matrix
from musicgen_serving.engine.model.weights import CrossLayerWeights, DecoderWeights, LayerWeights
from musicgen_serving.engine.step.slots import BatchView


class KernelLayer:
    """A layer's weights as the kernels take them; `next_gain` [H] and `next_weight` belong to the product after it."""

    def __init__(self, layer: LayerWeights, next_gain: torch.Tensor, next_weight: Matrix) -> None:
        ffn_gain = layer.ffn_norm.weight
        self.qkv = NormProjection(layer.self_norm, layer.qkv, layer.self_out)
        self.cross = KernelCrossAttention(layer) if isinstance(layer, CrossLayerWeights) else None
        self.self_out = ResidualProjection(
            weight=layer.self_out, even_gain=ffn_gain, odd_gain=ffn_gain, next_weight=layer.ffn_in
        )
        self.ffn_in = NormProjection(layer.ffn_norm, layer.ffn_in, layer.ffn_out, gelu=True)
        self.ffn_out = ResidualProjection(
            weight=layer.ffn_out, even_gain=next_gain, odd_gain=next_gain, next_weight=next_weight
        )


class KernelCrossAttention:
    """A layer's cross-attention, and the product before it, by the number of rows of each slot that attend to a text.

    The unconditional rows usually skip it, as zero attention would add exactly zero, and go on to the feed-forward
    part.
    """

    def __init__(self, layer: CrossLayerWeights) -> None:
        cross_gain, ffn_gain = layer.cross_norm.weight, layer.ffn_norm.weight
        self.self_out = {
            rows: ResidualProjection(
                weight=layer.self_out, even_gain=cross_gain, odd_gain=odd_gain, next_weight=layer.cross_q
            )
            for rows, odd_gain in ((1, ffn_gain), (ROWS, cross_gain))
        }
        cross_q = NormProjection(layer.cross_norm, layer.cross_q, layer.cross_out, stride=ROWS)
        self.cross_q = {1: cross_q, ROWS: copy(cross_q)}
        self.cross_q[ROWS].stride = 1
        self.cross_out = {
            rows: ResidualProjection(
                weight=layer.cross_out, even_gain=ffn_gain, odd_gain=ffn_gain, next_weight=layer.ffn_in,
                stride=ROWS // rows,
            )
            for rows in (1, ROWS)
        }  # fmt: skip


class StepBuffers:
    """What a step of n slots writes and reads again, allocated once for each n."""

    def __init__(
        self, config: DecoderConfig, weights: DecoderWeights, slots: int, positions: int, table: TileTable
    ) -> None:
        layer, heads, rows, hidden = weights.layers[0], weights.heads, ROWS * slots, config.hidden
        device, dtype = weights.device, weights.dtype
        matrices = [layer.qkv, layer.self_out, layer.ffn_in, layer.ffn_out, heads]
        if isinstance(layer, CrossLayerWeights):
            matrices += [layer.cross_q, layer.cross_out]
        self.stream = ResidualStream(rows, hidden, device, dtype)
        self.splits = SplitWorkspace(rows, matrices, device, table)
        self.spans = SpanWorkspace(rows, config.heads, config.head_size, positions, device)
        self.qkv = torch.zeros((rows, 3 * hidden), device=device, dtype=dtype)
        self.attn_out = torch.zeros((rows, hidden), device=device, dtype=dtype)
        queries, cross_out = (torch.zeros((rows, hidden), device=device, dtype=dtype) for _ in range(2))
        self.queries = {1: queries[:slots], ROWS: queries}  # by the rows of each slot that attend to a text
        self.cross_out = {1: cross_out[:slots], ROWS: cross_out}
        self.inner = torch.zeros((rows, config.ffn), device=device, dtype=dtype)
        self.logits = torch.zeros((rows, heads.shape[0]), device=device)
        self.sampled = torch.zeros(slots, device=device, dtype=torch.int32)  # codebooks that have their token


class KernelStep:
    """A StepFn for slots of `positions` positions, on the device of the weights."""

    def __init__(
        self, config: DecoderConfig, weights: DecoderWeights, positions: int, table: TileTable = DEFAULT_TILES
    ) -> None:
        self._config = config
        self._table = table
        self._weights = weights
        self._positions = positions
        following = [(layer.self_norm.weight, layer.qkv) for layer in weights.layers[1:]]
        following.append((weights.final_norm.weight, weights.heads))
        self._layers = [KernelLayer(layer, *after) for layer, after in zip(weights.layers, following, strict=True)]
        self._heads = NormProjection(weights.final_norm, weights.heads, weights.layers[0].qkv)
        self._buffers: dict[int, StepBuffers] = {}

    @torch.inference_mode()
    def __call__(self, view: BatchView, *, max_top_k: int, use_top_p: bool) -> None:
        """Advance the active slots, as in StepFn; the kernels read each slot's own sampling bounds."""
        del max_top_k, use_top_p
        buffers = self.buffers(view.state.position.shape[0])
        embed(self._weights, view.state, buffers.stream)
        for layer, pages in zip(self._layers, view.state.kv, strict=True):
            self._layer(layer, pages, view, buffers)
        project(buffers.stream, self._heads, buffers.logits, buffers.splits)
        sample(buffers.logits, view.state, buffers.sampled)

    def _layer(self, layer: KernelLayer, pages: torch.Tensor, view: BatchView, buffers: StepBuffers) -> None:
        state, stream, splits, rows = view.state, buffers.stream, buffers.splits, view.text_rows
        project(stream, layer.qkv, buffers.qkv, splits)
        attend(buffers.qkv, pages, state, view.length, buffers.attn_out, buffers.spans)
        if cross := layer.cross:
            add(stream, cross.self_out[rows], buffers.attn_out, splits)
            project(stream, cross.cross_q[rows], buffers.queries[rows], splits)
            attend_to_text(buffers.queries[rows], pages, state, buffers.cross_out[rows])
            add(stream, cross.cross_out[rows], buffers.cross_out[rows], splits)
        else:
            add(stream, layer.self_out, buffers.attn_out, splits)
        project(stream, layer.ffn_in, buffers.inner, splits)
        add(stream, layer.ffn_out, buffers.inner, splits)

    def buffers(self, slots: int) -> StepBuffers:
        """Return the buffers of a step of `slots` slots; they must exist before a graph is captured."""
        if slots not in self._buffers:
            self._buffers[slots] = StepBuffers(self._config, self._weights, slots, self._positions, self._table)
        return self._buffers[slots]

    def last_logits(self, slots: int) -> torch.Tensor:
        """Return the logits [n, 2, K, V] of the last step of n slots; an inactive slot's are meaningless."""
        return self.buffers(slots).logits.view(slots, ROWS, self._config.codebooks, -1)
