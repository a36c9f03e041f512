"""Decoders of random weights, of any shape: what the kernels, the 8-bit weights and benchmarks are tried on."""

import torch

from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.decoder_weights import DecoderWeights, LayerWeights, Norm, sinusoids


def random_decoder(config: DecoderConfig, positions: int, dtype: torch.dtype, seed: int = 0) -> DecoderWeights:
    """Weights drawn so that every layer changes its input by about as much as the input is large."""
    generator = torch.Generator().manual_seed(seed)
    hidden, ffn = config.hidden, config.ffn

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return (torch.randn(rows, columns, generator=generator) * columns**-0.5).to(dtype)

    def norm() -> Norm:
        weight, bias = torch.randn(2, hidden, generator=generator) * 0.1
        return Norm((1 + weight).to(dtype), bias.to(dtype))

    def layer() -> LayerWeights:
        return LayerWeights(
            self_norm=norm(), qkv=matrix(3 * hidden, hidden), self_out=matrix(hidden, hidden), cross_norm=norm(),
            cross_q=matrix(hidden, hidden), cross_kv=matrix(2 * hidden, hidden), cross_out=matrix(hidden, hidden),
            ffn_norm=norm(), ffn_in=matrix(ffn, hidden), ffn_out=matrix(hidden, ffn),
        )  # fmt: skip

    return DecoderWeights(
        embeddings=torch.randn(config.codebooks * (config.vocabulary + 1), hidden, generator=generator).to(dtype),
        positions=sinusoids(positions, hidden).to(dtype),
        layers=tuple(layer() for _ in range(config.layers)),
        final_norm=norm(),
        heads=matrix(config.codebooks * config.vocabulary, hidden),
        project=None,
    )
