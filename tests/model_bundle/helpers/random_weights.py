"""Random decoder weights of any shape, and the same weights in 8 bits or in float32."""

from dataclasses import fields, replace
from typing import Any

import torch

from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.quantisation import dense, quantise
from musicgen_serving.engine.model.weights import (
    CrossLayerWeights,
    DecoderWeights,
    LayerWeights,
    Norm,
    sinusoids,
)


def random_weights(config: DecoderConfig, positions: int, dtype: torch.dtype, seed: int = 0) -> DecoderWeights:
    """Return weights with which every layer's output is about as large as its input."""
    generator = torch.Generator().manual_seed(seed)
    hidden, ffn = config.hidden, config.ffn

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return (torch.randn(rows, columns, generator=generator) * columns**-0.5).to(dtype)

    def norm() -> Norm:
        weight, bias = torch.randn(2, hidden, generator=generator) * 0.1
        return Norm((1 + weight).to(dtype), bias.to(dtype))

    def layer() -> LayerWeights:
        own = LayerWeights(
            self_norm=norm(), qkv=matrix(3 * hidden, hidden), self_out=matrix(hidden, hidden), ffn_norm=norm(),
            ffn_in=matrix(ffn, hidden), ffn_out=matrix(hidden, ffn),
        )  # fmt: skip
        if config.melody:
            return own
        return CrossLayerWeights(
            **vars(own), cross_norm=norm(), cross_q=matrix(hidden, hidden), cross_kv=matrix(2 * hidden, hidden),
            cross_out=matrix(hidden, hidden),
        )  # fmt: skip

    return DecoderWeights(
        embeddings=torch.randn(config.codebooks * (config.vocabulary + 1), hidden, generator=generator).to(dtype),
        positions=sinusoids(positions, hidden).to(dtype),
        layers=tuple(layer() for _ in range(config.layers)),
        final_norm=norm(),
        heads=matrix(config.codebooks * config.vocabulary, hidden),
        project=None,
        chroma=Norm(torch.randn(hidden, config.chroma_bins, generator=generator), torch.zeros(hidden))
        if config.melody
        else None,
    )


def eight_bit(weights: DecoderWeights) -> DecoderWeights:
    """Return the same weights with the matrices of every step quantised."""
    names = ("qkv", "self_out", "cross_q", "cross_out", "ffn_in", "ffn_out")
    layers = (
        replace(layer, **{name: quantise(dense(getattr(layer, name))) for name in names if hasattr(layer, name)})
        for layer in weights.layers
    )
    return replace(weights, layers=tuple(layers))


def single_precision(weights: DecoderWeights) -> DecoderWeights:
    """Return the same weights in float32."""

    def norm(one: Norm) -> Norm:
        return Norm(one.weight.float(), one.bias.float())

    def layer(one: LayerWeights) -> LayerWeights:
        parts: dict[str, Any] = {field.name: getattr(one, field.name) for field in fields(one)}
        single: dict[str, Any] = {
            name: norm(part) if isinstance(part, Norm) else dense(part) for name, part in parts.items()
        }
        return type(one)(**single)

    return DecoderWeights(
        embeddings=weights.embeddings.float(), positions=weights.positions.float(),
        layers=tuple(layer(one) for one in weights.layers), final_norm=norm(weights.final_norm),
        heads=dense(weights.heads), project=None, chroma=weights.chroma,
    )  # fmt: skip
