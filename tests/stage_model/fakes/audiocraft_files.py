"""A model of transformers as audiocraft would export it: both files, written by torch.save, with its layout and names.

The names are those of audiocraft's modules (`LMModel`, `SEANetEncoder`, `ResidualVectorQuantization`), written down
here from its source and not taken from the code under test.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers ships types that strict mode cannot follow.

import io
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
import yaml

OUTPUT_PROJECTION = "condition_provider.conditioners.description.output_proj"


def language_model_state(model: Any) -> OrderedDict[str, torch.Tensor]:
    """Return the state dict of audiocraft's `LMModel` with the weights of a MusicgenForConditionalGeneration."""
    ours = model.state_dict()
    decoder, sizes = "decoder.model.decoder", model.decoder.config
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for kind in ("weight", "bias"):
        state[f"{OUTPUT_PROJECTION}.{kind}"] = ours[f"enc_to_dec_proj.{kind}"]
    for index in range(sizes.num_codebooks):
        state[f"emb.{index}.weight"] = ours[f"{decoder}.embed_tokens.{index}.weight"]
    for index in range(sizes.num_hidden_layers):
        layer, theirs = f"{decoder}.layers.{index}", f"transformer.layers.{index}"
        for name, attention in (("self_attn", "self_attn"), ("cross_attention", "encoder_attn")):
            fused = [ours[f"{layer}.{attention}.{part}.weight"] for part in ("q_proj", "k_proj", "v_proj")]
            state[f"{theirs}.{name}.in_proj_weight"] = torch.cat(fused)
            state[f"{theirs}.{name}.out_proj.weight"] = ours[f"{layer}.{attention}.out_proj.weight"]
        state[f"{theirs}.linear1.weight"] = ours[f"{layer}.fc1.weight"]
        state[f"{theirs}.linear2.weight"] = ours[f"{layer}.fc2.weight"]
        for name, norm in (
            ("norm1", "self_attn_layer_norm"), ("norm_cross", "encoder_attn_layer_norm"), ("norm2", "final_layer_norm"),
        ):  # fmt: skip
            for kind in ("weight", "bias"):
                state[f"{theirs}.{name}.{kind}"] = ours[f"{layer}.{norm}.{kind}"]
    for kind in ("weight", "bias"):
        state[f"out_norm.{kind}"] = ours[f"{decoder}.layer_norm.{kind}"]
    for index in range(sizes.num_codebooks):
        state[f"linears.{index}.weight"] = ours[f"decoder.lm_heads.{index}.weight"]
    return state


def compression_state(model: Any) -> OrderedDict[str, torch.Tensor]:
    """Return the state dict of audiocraft's `EncodecModel` with the weights of a transformers EncodecModel."""
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, tensor in model.state_dict().items():
        part, _, rest = name.partition(".layers.")
        index, _, rest = rest.partition(".")
        if part == "quantizer":
            state[f"quantizer.vq.layers.{index}._codebook.{rest.removeprefix('codebook.')}"] = tensor
            continue
        for new, old in (
            ("parametrizations.weight.original0", "weight_g"),
            ("parametrizations.weight.original1", "weight_v"),
        ):
            rest = rest.replace(new, old)
        transposed = (
            part == "decoder" and rest.startswith("conv.") and int(index) not in (0, len(model.decoder.layers) - 1)
        )
        conv = "convtr.convtr." if transposed else "conv.conv."
        state[f"{part}.model.{index}.{rest.replace('conv.', conv)}"] = tensor
    return state


def language_model_settings(model: Any, **changes: Any) -> dict[str, Any]:
    """Return a part of `xp.cfg`, with the lines around those that matter."""
    sizes = model.decoder.config
    stereo = sizes.audio_channels == 2
    return {
        "device": "cuda", "dtype": "float16", "sample_rate": 32000, "channels": sizes.audio_channels,
        "compression_model_checkpoint": "//pretrained/facebook/encodec_32khz",
        "dataset": {"batch_size": 192, "segment_duration": 30, "train": {"num_samples": 1000, "merge_text_p": 0.25}},
        "interleave_stereo_codebooks": {"use": stereo, "per_timestep": False},
        "lm_model": "transformer_lm",
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {
                "delays": [0, 0, 1, 1, 2, 2, 3, 3] if stereo else [0, 1, 2, 3], "flatten_first": 0, "empty_initial": 0,
            },
            "unroll": {"flattening": [0, 1, 2, 3], "delays": [0, 0, 0, 0]},
        },
        "transformer_lm": {
            "dim": sizes.hidden_size, "num_heads": sizes.num_attention_heads, "num_layers": sizes.num_hidden_layers,
            "hidden_scale": 4, "n_q": sizes.num_codebooks, "card": sizes.vocab_size, "dropout": 0.0, "emb_lr": None,
            "activation": "gelu", "norm_first": True, "bias_ff": False, "bias_attn": False, "bias_proj": False,
            "past_context": None, "causal": True, "memory_efficient": True, "layer_scale": None,
            "positional_embedding": "sin", "xpos": False, "cross_attention": True, "qk_layer_norm": False, **changes,
        },
        "fuser": {"sum": [], "prepend": [], "cross": ["description"], "input_interpolate": []},
        "conditioners": {
            "description": {
                "model": "t5",
                "t5": {"name": "t5-base", "finetune": False, "word_dropout": 0.2, "normalize_text": False},
            }
        },
    }  # fmt: skip


def compression_settings() -> dict[str, Any]:
    """Return a part of the `xp.cfg` of an EnCodec."""
    return {
        "sample_rate": 32000, "channels": 1, "compression_model": "encodec",
        "encodec": {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": "${sample_rate}", "channels": 1,
                    "causal": False, "renormalize": False},
        "seanet": {"dimension": 128, "ratios": [8, 5, 4, 4], "activation": "ELU", "activation_params": {"alpha": 1.0},
                   "norm": "weight_norm", "norm_params": {}, "pad_mode": "reflect"},
        "rvq": {"n_q": 4, "bins": 2048},
    }  # fmt: skip


def exported(state: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> bytes:
    """Return what `export_lm` and `export_encodec` write."""
    return saved({"best_state": state, "xp.cfg": as_yaml(settings), "version": "1.4.0a2", "exported": True})


def as_yaml(settings: Mapping[str, Any]) -> str:
    """Return what OmegaConf.to_yaml writes."""
    return yaml.dump(settings, default_flow_style=False, allow_unicode=True, sort_keys=False)


def reference_to(codec: str = "facebook/encodec_32khz") -> bytes:
    """Return what `export_pretrained_compression_model` writes for a published codec."""
    return saved({"pretrained": codec, "exported": True, "version": "1.4.0a2"})


def saved(content: object) -> bytes:
    target = io.BytesIO()
    torch.save(content, target)
    return target.getvalue()
