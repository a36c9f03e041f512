"""MusicGen's decoder over a run of slots, one or more positions at a time.

The unconditional rows' cross-attention is left out: transformers feeds it zeroed text states, and as its projections
have no biases its output is exactly zero.
"""

import torch
from torch.nn import functional

from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.decoder_weights import DecoderWeights, LayerWeights, Norm
from musicgen_serving.engine.slots import ROWS, Slots


def embed(weights: DecoderWeights, tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """The input [2n, T, H] for tokens [n, K, T] at positions [n, T]; both rows of a slot read the same tokens."""
    codebooks = tokens.shape[1]
    table = weights.embeddings.shape[0] // codebooks
    offset = torch.arange(codebooks, device=tokens.device)[None, :, None] * table
    x = functional.embedding(tokens + offset, weights.embeddings).sum(1) + functional.embedding(
        position, weights.positions
    )  # [n, T, H]
    return x.repeat_interleave(ROWS, dim=0)


def attention_mask(position: torch.Tensor, length: int) -> torch.Tensor:
    """Which of `length` cached positions each row may see, [2n, 1, T, length], for positions [n, T]."""
    seen = torch.arange(length, device=position.device) <= position[:, :, None]  # [n, T, length]
    return seen.repeat_interleave(ROWS, dim=0)[:, None]


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[B, T, H] as [B, heads, T, head size]."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _norm(x: torch.Tensor, norm: Norm) -> torch.Tensor:
    return functional.layer_norm(x, (x.shape[-1],), norm.weight, norm.bias)


class Transformer:
    """The decoder's layers with their caches; holds nothing of its own."""

    def __init__(self, config: DecoderConfig, weights: DecoderWeights, slots: Slots) -> None:
        self._heads = config.heads
        self._weights = weights
        self._slots = slots

    def forward(self, first: int, tokens: torch.Tensor, position: torch.Tensor, length: int, text: int) -> torch.Tensor:
        """Logits [n, 2, K * V] after the last of tokens [n, K, T] at positions [n, T], for slots `first` to first + n.

        The attention sees `length` cached positions and `text` text tokens, at least as many as any slot has.
        """
        x = embed(self._weights, tokens, position)  # [2n, T, H]
        mask = attention_mask(position, length)
        rows = torch.arange(x.shape[0], device=x.device)[:, None]  # [2n, 1]
        where = (rows, slice(None), position.repeat_interleave(ROWS, dim=0))
        for index, layer in enumerate(self._weights.layers):
            self._self_attention(x, layer, index, first, where, mask, length)
            self._cross_attention(x, layer, index, first, text)
            hidden = functional.gelu(functional.linear(_norm(x, layer.ffn_norm), layer.ffn_in))
            x += functional.linear(hidden, layer.ffn_out)
        last = _norm(x[:, -1], self._weights.final_norm)  # [2n, H]
        return functional.linear(last, self._weights.heads).view(-1, ROWS, self._weights.heads.shape[0])

    def _self_attention(
        self, x: torch.Tensor, layer: LayerWeights, index: int, first: int,
        where: tuple[torch.Tensor, slice, torch.Tensor], mask: torch.Tensor, length: int,
    ) -> None:  # fmt: skip
        """Add causal self-attention to x [2n, T, H] in place, after writing its keys and values to the cache."""
        batch, span, width = x.shape
        run = slice(first * ROWS, first * ROWS + batch)
        keys, values = self._slots.keys[index][run], self._slots.values[index][run]  # [2n, heads, P, head size]
        qkv = functional.linear(_norm(x, layer.self_norm), layer.qkv).view(batch, span, 3, self._heads, -1)
        query, keys[where], values[where] = qkv.unbind(2)  # [2n, T, heads, head size] each
        seen = functional.scaled_dot_product_attention(
            query.transpose(1, 2), keys[:, :, :length], values[:, :, :length], attn_mask=mask
        )  # [2n, heads, T, head size]
        x += functional.linear(seen.transpose(1, 2).reshape(batch, span, width), layer.self_out)

    def _cross_attention(self, x: torch.Tensor, layer: LayerWeights, index: int, first: int, text: int) -> None:
        """Add attention to the text to the conditional rows of x [2n, T, H] in place."""
        batch, span, width = x.shape
        n = batch // ROWS
        conditional = x.view(n, ROWS, span, width)[:, 0]  # [n, T, H]
        run = slice(first, first + n)
        query = functional.linear(_norm(conditional, layer.cross_norm), layer.cross_q)
        seen = functional.scaled_dot_product_attention(
            _heads(query, self._heads),
            self._slots.cross_keys[index][run, :, :text],
            self._slots.cross_values[index][run, :, :text],
            attn_mask=self._slots.cross_mask[run, :, :, :text],
        )  # [n, heads, T, head size]
        conditional += functional.linear(seen.transpose(1, 2).reshape(n, span, width), layer.cross_out)

    def write_text(self, slot: int, states: torch.Tensor) -> None:
        """Compute a text's cross keys and values, once for its clip; states [tokens, H] in the decoder's type."""
        count = states.shape[0]
        for index, layer in enumerate(self._weights.layers):
            key, value = functional.linear(states, layer.cross_kv).view(count, 2, self._heads, -1).unbind(1)
            self._slots.cross_keys[index][slot, :, :count] = key.transpose(0, 1)  # [heads, tokens, head size]
            self._slots.cross_values[index][slot, :, :count] = value.transpose(0, 1)
        self._slots.cross_mask[slot, ..., :count] = True
        self._slots.cross_mask[slot, ..., count:] = False
