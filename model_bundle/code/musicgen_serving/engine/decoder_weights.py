"""The decoder's weights as the loop multiplies by them: projections that read the same input are one matrix."""

import math
from dataclasses import dataclass

import torch

from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.weight_files import WeightFiles

PREFIX = "decoder.model.decoder."


@dataclass(frozen=True)
class Norm:
    """A layer norm's scale and shift, [H] each."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """One layer; matrices are [out, in]."""

    self_norm: Norm
    qkv: torch.Tensor  # [3H, H]
    self_out: torch.Tensor  # [H, H]
    cross_norm: Norm
    cross_q: torch.Tensor  # [H, H]
    cross_kv: torch.Tensor  # [2H, H]
    cross_out: torch.Tensor  # [H, H]
    ffn_norm: Norm
    ffn_in: torch.Tensor  # [F, H]
    ffn_out: torch.Tensor  # [H, F]


@dataclass(frozen=True, kw_only=True)
class DecoderWeights:
    """The whole decoder. `project` maps text states to the decoder's width; None where the widths are equal."""

    embeddings: torch.Tensor  # [K * (V + 1), H], all codebooks' tables one below the other
    positions: torch.Tensor  # [P, H]
    layers: tuple[LayerWeights, ...]
    final_norm: Norm
    heads: torch.Tensor  # [K * V, H], one matrix product for all codebooks
    project: Norm | None  # weight [H, T5's width] and bias [H], in float32


def load_decoder(
    files: WeightFiles, config: DecoderConfig, device: torch.device, dtype: torch.dtype, positions: int
) -> DecoderWeights:
    """Fill the fused matrices on the device straight from the files."""
    return DecoderWeights(
        embeddings=files.stacked(
            [f"{PREFIX}embed_tokens.{codebook}.weight" for codebook in range(config.codebooks)], device, dtype
        ),
        positions=sinusoids(positions, config.hidden).to(device, dtype),
        layers=tuple(_layer(files, f"{PREFIX}layers.{index}.", device, dtype) for index in range(config.layers)),
        final_norm=_norm(files, f"{PREFIX}layer_norm", device, dtype),
        heads=files.stacked(
            [f"decoder.lm_heads.{codebook}.weight" for codebook in range(config.codebooks)], device, dtype
        ),
        project=_norm(files, "enc_to_dec_proj", device, torch.float32) if files.names("enc_to_dec_proj.") else None,
    )


def sinusoids(positions: int, width: int) -> torch.Tensor:
    """Position embeddings [positions, width]: cosines, then sines, as tensor2tensor has them.

    The frequencies fall from 1 to 1/10000 over width/2 steps, both ends included.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(positions).float()[:, None] * frequencies[None]  # [positions, half]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _norm(files: WeightFiles, name: str, device: torch.device, dtype: torch.dtype) -> Norm:
    weight, bias = (files.stacked([f"{name}.{part}"], device, dtype) for part in ("weight", "bias"))
    return Norm(weight, bias)


def _layer(files: WeightFiles, name: str, device: torch.device, dtype: torch.dtype) -> LayerWeights:
    def fused(module: str, *parts: str) -> torch.Tensor:
        names = [f"{name}{module}.{part}.weight" for part in parts]
        return files.stacked(names, device, dtype)

    return LayerWeights(
        self_norm=_norm(files, f"{name}self_attn_layer_norm", device, dtype),
        qkv=fused("self_attn", "q_proj", "k_proj", "v_proj"),
        self_out=fused("self_attn", "out_proj"),
        cross_norm=_norm(files, f"{name}encoder_attn_layer_norm", device, dtype),
        cross_q=fused("encoder_attn", "q_proj"),
        cross_kv=fused("encoder_attn", "k_proj", "v_proj"),
        cross_out=fused("encoder_attn", "out_proj"),
        ffn_norm=_norm(files, f"{name}final_layer_norm", device, dtype),
        ffn_in=files.stacked([f"{name}fc1.weight"], device, dtype),
        ffn_out=files.stacked([f"{name}fc2.weight"], device, dtype),
    )
