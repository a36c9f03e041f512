"""MusicGen's decoder over a run of slots, one position of each at a time, or many of one slot.

The unconditional rows' cross-attention is left out: transformers feeds it zeroed text states, and as its projections
have no biases its output is exactly zero.
"""

import torch
from torch.nn import functional

from musicgen_serving.engine.constants import counting
from musicgen_serving.engine.decoder_weights import DecoderWeights, LayerWeights, Norm
from musicgen_serving.engine.matmul import linear
from musicgen_serving.engine.slots import ROWS
from musicgen_serving.engine.window import LayerViews, Window

Attend = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # rows [2n, 1], positions [2n, T], mask [2n, 1, T, length]


def forward(
    weights: DecoderWeights, heads: int, window: Window, tokens: torch.Tensor, position: torch.Tensor
) -> torch.Tensor:
    """Logits [n, 2, K * V] after the last of tokens [n, K, T] at positions [n, T]; either n or T is 1."""
    n, span = position.shape
    rows = position.repeat_interleave(ROWS, dim=0)  # [2n, T]
    x = _embed(weights, tokens, position).repeat_interleave(ROWS, dim=0)  # [2n, T, H]
    x = x.view(ROWS * n * span, -1)  # [2nT, H], as is x from here on
    mask = (counting(window.length, x.device) <= rows[:, :, None])[:, None]  # [2n, 1, T, length]
    attend = (counting(ROWS * n, x.device)[:, None], rows, mask)
    for layer, views in zip(weights.layers, window.layers, strict=True):
        _self_attention(x, layer, views, heads, attend)
        _cross_attention(x, layer, views, heads, window.cross_mask, n)
        x += linear(functional.gelu(linear(_norm(x, layer.ffn_norm), layer.ffn_in)), layer.ffn_out)
    last = x.view(ROWS * n, span, -1)[:, -1]  # [2n, H]
    return linear(_norm(last, weights.final_norm), weights.heads).reshape(n, ROWS, -1)


def _embed(weights: DecoderWeights, tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """The input [n, T, H] for tokens [n, K, T] at positions [n, T]; both rows of a slot read the same."""
    codebooks = tokens.shape[1]
    table = weights.embeddings.shape[0] // codebooks
    places = tokens + (counting(codebooks, tokens.device) * table)[None, :, None]
    return functional.embedding(places, weights.embeddings).sum(1) + functional.embedding(position, weights.positions)


def _norm(x: torch.Tensor, norm: Norm) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias)


def _self_attention(x: torch.Tensor, layer: LayerWeights, views: LayerViews, heads: int, attend: Attend) -> None:
    """Add causal self-attention to x in place, after writing its keys and values to the cache."""
    rows, position, mask = attend
    batch, span = position.shape
    qkv = linear(_norm(x, layer.self_norm), layer.qkv).contiguous().view(batch, span, 3, heads, -1)
    views.cache[rows, :, :, position] = qkv[:, :, 1:]  # [2n, T, 2, heads, head size]
    query = qkv[:, :, 0].transpose(1, 2)  # [2n, heads, T, head size]
    seen = functional.scaled_dot_product_attention(query, views.keys, views.values, attn_mask=mask)
    x += linear(seen.transpose(1, 2).reshape(x.shape), layer.self_out)


def _cross_attention(
    x: torch.Tensor, layer: LayerWeights, views: LayerViews, heads: int, mask: torch.Tensor, n: int
) -> None:
    """Add attention to the text to the conditional rows of x in place."""
    conditional = x.view(n, ROWS, -1, x.shape[-1])[:, 0]  # [n, T, H]
    conditional = conditional.view(-1, x.shape[-1])  # [nT, H]: a view as long as n or T is 1
    query = (
        linear(_norm(conditional, layer.cross_norm), layer.cross_q)
        .contiguous()
        .view(n, -1, heads, x.shape[-1] // heads)
    )
    seen = functional.scaled_dot_product_attention(
        query.transpose(1, 2), views.cross_keys, views.cross_values, attn_mask=mask
    )  # [n, heads, T, head size]
    conditional += linear(seen.transpose(1, 2).reshape(conditional.shape), layer.cross_out)


def write_text(weights: DecoderWeights, heads: int, window: Window, states: torch.Tensor) -> None:
    """Compute a text's cross keys and values, once for its clip, into a window of one slot.

    `states` [tokens, H] are in the decoder's type; the window is as wide as any text may be, and zero beyond this one:
    attention multiplies what it masks by zero, and an earlier clip's NaN times zero is NaN.
    """
    count = states.shape[0]
    for layer, views in zip(weights.layers, window.layers, strict=True):
        key, value = linear(states, layer.cross_kv).reshape(count, 2, heads, -1).permute(1, 2, 0, 3)
        views.cross_keys[0, :, :count] = key  # [heads, tokens, head size]
        views.cross_values[0, :, :count] = value
        views.cross_keys[0, :, count:] = 0
        views.cross_values[0, :, count:] = 0
    window.cross_mask[0] = counting(window.cross_mask.shape[-1], states.device) < count
