"""The decoder's weights as the loop multiplies by them: projections that read the same input are one matrix."""

import math
from dataclasses import dataclass

import torch

from musicgen_serving.engine.decoder_config import DecoderConfig
from musicgen_serving.engine.quantised import Matrix, quantise
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
    qkv: Matrix  # [3H, H]
    self_out: Matrix  # [H, H]
    cross_norm: Norm
    cross_q: Matrix  # [H, H]
    cross_kv: torch.Tensor  # [2H, H]
    cross_out: Matrix  # [H, H]
    ffn_norm: Norm
    ffn_in: Matrix  # [F, H]
    ffn_out: Matrix  # [H, F]


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
    files: WeightFiles, config: DecoderConfig, device: torch.device, dtype: torch.dtype, positions: int, *,
    eight_bit: bool = False,
) -> DecoderWeights:  # fmt: skip
    """Fill the fused matrices on the device straight from the files.

    With `eight_bit` the matrices that every layer reads in every step are rounded to 8 bits there; what else there is,
    embeddings, norms, heads and what a text is multiplied by once, stays as it is.
    """
    return DecoderWeights(
        embeddings=files.stacked(
            [f"{PREFIX}embed_tokens.{codebook}.weight" for codebook in range(config.codebooks)], device, dtype
        ),
        positions=sinusoids(positions, config.hidden).to(device, dtype),
        layers=tuple(
            _layer(files, f"{PREFIX}layers.{index}.", device, dtype, eight_bit) for index in range(config.layers)
        ),
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


def _layer(files: WeightFiles, name: str, device: torch.device, dtype: torch.dtype, eight_bit: bool) -> LayerWeights:
    def stacked(module: str, *parts: str) -> torch.Tensor:
        return files.stacked([f"{name}{module}{part}.weight" for part in parts or ("",)], device, dtype)

    def matrix(module: str, *parts: str) -> Matrix:
        weight = stacked(module, *parts)
        return quantise(weight) if eight_bit else weight

    return LayerWeights(
        self_norm=_norm(files, f"{name}self_attn_layer_norm", device, dtype),
        qkv=matrix("self_attn", ".q_proj", ".k_proj", ".v_proj"),
        self_out=matrix("self_attn.out_proj"),
        cross_norm=_norm(files, f"{name}encoder_attn_layer_norm", device, dtype),
        cross_q=matrix("encoder_attn.q_proj"),
        cross_kv=stacked("encoder_attn", ".k_proj", ".v_proj"),
        cross_out=matrix("encoder_attn.out_proj"),
        ffn_norm=_norm(files, f"{name}final_layer_norm", device, dtype),
        ffn_in=matrix("fc1"),
        ffn_out=matrix("fc2"),
    )
