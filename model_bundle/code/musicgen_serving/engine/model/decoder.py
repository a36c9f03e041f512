"""MusicGen's decoder over a run of slots: one position of each at a time, or many positions of one slot.

The unconditional rows' cross-attention is left out: transformers feeds it zeroed text states, and as its projections
have no biases its output is exactly zero.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional

from musicgen_serving.engine.model.quantisation import linear
from musicgen_serving.engine.model.weights import DecoderWeights, LayerWeights, Norm

ROWS = 2  # of a slot: conditional, unconditional


@dataclass(frozen=True)
class LayerKV:
    """Views of one layer's KV caches for n slots."""

    kv: torch.Tensor  # [2n, 2, heads, P, head size], to write to
    keys: torch.Tensor  # [2n, heads, length, head size]
    values: torch.Tensor
    cross_keys: torch.Tensor  # [n, heads, text length, head size]
    cross_values: torch.Tensor


@cache
def arange(count: int, device: torch.device) -> torch.Tensor:
    """Return 0, 1, …, count - 1, read-only: made once, and kept because a CUDA graph may know its address."""
    return torch.arange(count, device=device)


def forward(
    weights: DecoderWeights, heads: int, layers: tuple[LayerKV, ...], cross_mask: torch.Tensor, tokens: torch.Tensor,
    position: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Return logits [n, 2, K * V] after the last of tokens [n, K, T] at positions [n, T]; either n or T is 1.

    Keys and values are written to `layers`; `cross_mask` is [n, 1, 1, text length].
    """
    n, count = position.shape
    rows, row_position = arange(ROWS * n, weights.device)[:, None], position.repeat_interleave(ROWS, dim=0)
    x = _embed(weights, tokens, position).repeat_interleave(ROWS, dim=0)  # [2n, T, H]
    x = x.view(ROWS * n * count, -1)  # [2nT, H], as is x from here on
    mask = (arange(layers[0].keys.shape[2], x.device) <= row_position[:, :, None])[:, None]  # [2n, 1, T, length]
    for layer, kv in zip(weights.layers, layers, strict=True):
        _self_attention(x, layer, kv, heads, rows, row_position, mask)
        _cross_attention(x, layer, kv, heads, cross_mask, n)
        x += linear(functional.gelu(linear(_norm(x, layer.ffn_norm), layer.ffn_in)), layer.ffn_out)
    last = x.view(ROWS * n, count, -1)[:, -1]  # [2n, H]
    return linear(_norm(last, weights.final_norm), weights.heads).reshape(n, ROWS, -1)


def _embed(weights: DecoderWeights, tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Return the input [n, T, H] for tokens [n, K, T] at positions [n, T]; both rows of a slot read the same."""
    codebooks = tokens.shape[1]
    table = weights.embeddings.shape[0] // codebooks
    places = tokens + (arange(codebooks, tokens.device) * table)[None, :, None]
    return functional.embedding(places, weights.embeddings).sum(1) + functional.embedding(position, weights.positions)


def _norm(x: torch.Tensor, norm: Norm) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias)


def _self_attention(
    x: torch.Tensor, layer: LayerWeights, kv: LayerKV, heads: int, rows: torch.Tensor, position: torch.Tensor,
    mask: torch.Tensor,
) -> None:  # fmt: skip
    """Add causal self-attention to x in place, after writing its keys and values to the cache.

    `rows` [2n, 1] counts, `position` is [2n, T], and `mask` [2n, 1, T, length] has what each position attends to.
    """
    batch, count = position.shape
    qkv = linear(_norm(x, layer.self_norm), layer.qkv).contiguous().view(batch, count, 3, heads, -1)
    kv.kv[rows, :, :, position] = qkv[:, :, 1:]  # [2n, T, 2, heads, head size]
    query = qkv[:, :, 0].transpose(1, 2)  # [2n, heads, T, head size]
    attn_out = functional.scaled_dot_product_attention(query, kv.keys, kv.values, attn_mask=mask)
    x += linear(attn_out.transpose(1, 2).reshape(x.shape), layer.self_out)


def _cross_attention(x: torch.Tensor, layer: LayerWeights, kv: LayerKV, heads: int, mask: torch.Tensor, n: int) -> None:
    """Add attention to the text to the conditional rows of x in place."""
    conditional = x.view(n, ROWS, -1, x.shape[-1])[:, 0]  # [n, T, H]
    conditional = conditional.view(-1, x.shape[-1])  # [nT, H]: a view because n or T is 1
    query = linear(_norm(conditional, layer.cross_norm), layer.cross_q).contiguous()
    query = query.view(n, -1, heads, x.shape[-1] // heads).transpose(1, 2)  # [n, heads, T, head size]
    cross_out = functional.scaled_dot_product_attention(query, kv.cross_keys, kv.cross_values, attn_mask=mask)
    conditional += linear(cross_out.transpose(1, 2).reshape(conditional.shape), layer.cross_out)


def write_text(
    weights: DecoderWeights, heads: int, layers: tuple[LayerKV, ...], cross_mask: torch.Tensor, states: torch.Tensor
) -> None:
    """Write a text's cross keys and values, once for its clip, to views of one slot that are as wide as any text.

    `states` [tokens, H] are in the decoder's dtype. Positions beyond them are zeroed: attention multiplies masked
    values by zero, and an earlier clip's NaN times zero is NaN.
    """
    count = states.shape[0]
    for layer, kv in zip(weights.layers, layers, strict=True):
        key, value = linear(states, layer.cross_kv).reshape(count, 2, heads, -1).permute(1, 2, 0, 3)
        kv.cross_keys[0, :, :count] = key  # [heads, tokens, head size]
        kv.cross_values[0, :, :count] = value
        kv.cross_keys[0, :, count:] = 0
        kv.cross_values[0, :, count:] = 0
    cross_mask[0] = arange(cross_mask.shape[-1], states.device) < count
