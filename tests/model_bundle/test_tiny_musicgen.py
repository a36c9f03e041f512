"""The tiny model that replaces the published ones in tests."""

# pyright: reportUnknownVariableType=false
# safetensors' types leave a parameter open.

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from local_aws.hub.tiny_model import make_tiny_musicgen


def test_has_the_hubs_file_layout(tiny_musicgen: Path) -> None:
    names = {path.name for path in tiny_musicgen.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert json.loads((tiny_musicgen / "config.json").read_text(encoding="utf-8"))["model_type"] == "musicgen"


def test_the_decoders_weights_are_exact_in_float16(tiny_musicgen: Path) -> None:
    weights = load_file(tiny_musicgen / "model.safetensors")
    decoder = [weight for name, weight in weights.items() if name.startswith("decoder.")]
    assert len(decoder) > 40
    assert all(torch.equal(weight, weight.half().float()) for weight in decoder)


def test_depends_only_on_its_seed(tiny_musicgen: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    make_tiny_musicgen(tmp_path / "same", seed=0)
    make_tiny_musicgen(tmp_path / "other", seed=1)
    weights = (tiny_musicgen / "model.safetensors").read_bytes()
    assert (tmp_path / "same/model.safetensors").read_bytes() == weights
    assert (tmp_path / "other/model.safetensors").read_bytes() != weights
    assert torch.equal(torch.get_rng_state(), before)
