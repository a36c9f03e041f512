"""MusicGen's decoder over a run of slots: one position of each at a time, or many positions of one slot.

A melody model has no cross-attention: its melody and text are inputs at the first positions of a clip, in either row.

A row without a text skips cross-attention: transformers feeds it zeroed text states, and as its projections have no
biases its output is exactly zero. Unconditional rows have no text, unless the clip has a negative prompt.
"""

from functools import cache
from typing import Protocol

import torch
from torch.nn import functional

from musicgen_serving.engine.model.memory import ROWS, prefix_text
from musicgen_serving.engine.model.quantisation import linear
from musicgen_serving.engine.model.weights import CrossLayerWeights, DecoderWeights, Norm


class Attention(Protocol):
    """Attention of n slots at T positions each, over what the cache holds of them; either n or T is 1.

    Of each slot, the first `text_rows` rows attend to a text.
    """

    text_rows: int

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """Cache keys and values of qkv [2n, T, 3, heads, size]; return causal attention [2n, T, heads, size]."""
        ...

    def attend_to_text(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """Return attention of query [n * text_rows, T, heads, size] to each row's text; zero if it has none."""
        ...


@cache
def arange(count: int, device: torch.device) -> torch.Tensor:
    """Return 0, 1, …, count - 1, read-only: made once, and kept because a CUDA graph may know its address."""
    return torch.arange(count, device=device)


def forward(
    weights: DecoderWeights, heads: int, attention: Attention, tokens: torch.Tensor, position: torch.Tensor,
    prefix: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """Return logits [n, 2, K * V] after the last of tokens [n, K, T] at positions [n, T]; either n or T is 1.

    A slot's `prefix` [2, P, H] is the input of its rows at the first P of the positions; tokens follow it.
    """
    n, count = position.shape
    places = functional.embedding(position, weights.positions)  # [n, T, H]
    if prefix is None:
        x = (_embed(weights, tokens) + places).repeat_interleave(ROWS, dim=0)  # [2n, T, H]
    else:
        x = torch.cat([prefix, _embed(weights, tokens).expand(ROWS, -1, -1)], dim=1) + places
    x = x.view(ROWS * n * count, -1)  # [2nT, H], as is x from here on
    for index, layer in enumerate(weights.layers):
        qkv = linear(_norm(x, layer.self_norm), layer.qkv).contiguous()
        attn_out = attention.attend(index, qkv.view(ROWS * n, count, 3, heads, -1))
        x += linear(attn_out.reshape(x.shape), layer.self_out)
        if isinstance(layer, CrossLayerWeights):
            _cross_attention(x.view(n, ROWS, count, -1)[:, : attention.text_rows], layer, attention, index, heads)
        x += linear(functional.gelu(linear(_norm(x, layer.ffn_norm), layer.ffn_in)), layer.ffn_out)
    last = x.view(ROWS * n, count, -1)[:, -1]  # [2n, H]
    return linear(_norm(last, weights.final_norm), weights.heads).reshape(n, ROWS, -1)


def _embed(weights: DecoderWeights, tokens: torch.Tensor) -> torch.Tensor:
    """Return the input [n, T, H] for tokens [n, K, T], without positions; both rows of a slot read the same."""
    codebooks = tokens.shape[1]
    table = weights.embeddings.shape[0] // codebooks
    places = tokens + (arange(codebooks, tokens.device) * table)[None, :, None]
    return functional.embedding(places, weights.embeddings).sum(1)


def _norm(x: torch.Tensor, norm: Norm) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias)


def _cross_attention(x: torch.Tensor, layer: CrossLayerWeights, attention: Attention, index: int, heads: int) -> None:
    """Add attention to texts to x [n, text rows, T, H] in place."""
    rows = x.view(-1, x.shape[-1])  # [n * text rows * T, H]: a view because n or T is 1
    query = linear(_norm(rows, layer.cross_norm), layer.cross_q).contiguous()
    cross_out = attention.attend_to_text(index, query.view(-1, x.shape[2], heads, query.shape[1] // heads))
    rows += linear(cross_out.reshape(rows.shape), layer.cross_out)


def text_kv(layer: CrossLayerWeights, heads: int, states: torch.Tensor) -> torch.Tensor:
    """Return a text's keys and values [2, heads, tokens, head size], which a layer needs once for a clip.

    `states` [tokens, H] are in the decoder's dtype.
    """
    return linear(states, layer.cross_kv).reshape(states.shape[0], 2, heads, -1).permute(1, 2, 0, 3)


def melody_prefix(
    weights: DecoderWeights, frames: int, melody: torch.Tensor | None, texts: tuple[torch.Tensor | None, ...]
) -> torch.Tensor:
    """Return a melody model's input [2, P, H] before a clip's first token: chroma `frames`, then the text, of each row.

    `melody` [T, bins] may be on the host, and is repeated to fill the frames. Without one, and in the unconditional
    row, all the chroma's weight is in the first bin. `texts` are the rows' states [tokens, width]; a shorter one, or
    none, is padded with zeros, which the decoder reads like any other input. Source: transformers'
    MusicgenMelodyForConditionalGeneration._prepare_encoder_hidden_states_kwargs_for_generation.
    """
    assert weights.chroma is not None  # of a melody model
    device, hidden = weights.device, weights.positions.shape[1]
    if melody is not None and melody.device != device:
        melody = melody.pin_memory().to(device, non_blocking=True)  # or the host would wait for the device
    length = prefix_text(*(0 if text is None else text.shape[0] for text in texts))
    prefix = torch.zeros(ROWS, frames + length, hidden, device=device)
    null = torch.zeros(1, weights.chroma.weight.shape[1], device=device)
    null[:, 0] = 1
    for row, chroma in enumerate((null if melody is None else melody, null)):
        projected = functional.linear(chroma, weights.chroma.weight, weights.chroma.bias)
        prefix[row, :frames] = projected.repeat(-(-frames // len(chroma)), 1)[:frames]
    for row, text in enumerate(texts):
        if text is not None:
            prefix[row, frames : frames + text.shape[0]] = project_text(weights, text)
    return prefix.to(weights.dtype)


def project_text(weights: DecoderWeights, states: torch.Tensor) -> torch.Tensor:
    """Return a text's states [tokens, H], in float32, of T5's [tokens, width]."""
    return functional.linear(states, project.weight, project.bias) if (project := weights.project) else states
