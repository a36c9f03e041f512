"""Test loading: the decoder's weights, memory for slots, and errors for checkpoints that cannot be served."""

# pyright: reportUnknownVariableType=false
# safetensors' types leave parameters open.

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from musicgen_serving.engine.model.codec import Codec, make_convolutions_repeatable
from musicgen_serving.engine.model.config import decoder_config, read_config
from musicgen_serving.engine.model.quantisation import dense
from musicgen_serving.engine.model.weights import WeightFiles, load_decoder, sinusoids
from tests.model_bundle.helpers.reference_musicgen import Reference

CPU = torch.device("cpu")


def rewrite(reference: Reference, folder: Path, change: Any) -> Path:
    """Copy the checkpoint; `change` takes its tensors and returns those of each file."""
    shutil.copy(reference.folder / "config.json", folder)
    for name, tensors in change(load_file(reference.folder / "model.safetensors")).items():
        save_file(tensors, folder / name)
    return folder


def test_reads_each_tensor_of_the_decoder_once(mono: Reference) -> None:
    config = decoder_config(read_config(mono.folder))
    tensors = load_file(mono.folder / "model.safetensors")
    size = sum(one.nbytes for name, one in tensors.items() if name.startswith(("decoder.", "enc_to_dec_proj.")))
    with WeightFiles(mono.folder) as files:
        weights = load_decoder(files, config, CPU, torch.float32, 16)
        assert files.bytes_read == size
    layer = "decoder.model.decoder.layers.1.self_attn."
    parts = [tensors[f"{layer}{part}_proj.weight"] for part in "qkv"]
    assert torch.equal(dense(weights.layers[1].qkv), torch.cat(parts))


def test_reads_a_checkpoint_in_several_files(mono: Reference, tmp_path: Path) -> None:
    def split(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
        names = sorted(tensors)
        halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
        return {file: {name: tensors[name] for name in half} for file, half in halves.items()}

    with WeightFiles(rewrite(mono, tmp_path, split)) as files:
        weights = load_decoder(files, decoder_config(read_config(mono.folder)), CPU, torch.float32, 16)
    with WeightFiles(mono.folder) as files:
        whole = load_decoder(files, decoder_config(read_config(mono.folder)), CPU, torch.float32, 16)
    assert torch.equal(dense(weights.heads), dense(whole.heads))
    assert torch.equal(dense(weights.layers[1].ffn_out), dense(whole.layers[1].ffn_out))


def test_reads_weight_normalisation_under_its_old_names(mono: Reference, tmp_path: Path) -> None:
    old = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}

    def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
        for new, name in old.items():
            tensors = {key.replace(new, name): tensor for key, tensor in tensors.items()}
        return {"model.safetensors": tensors}

    codes = torch.zeros((4, 5), dtype=torch.long)
    samples: list[torch.Tensor] = []
    for folder in (mono.folder, rewrite(mono, tmp_path, renamed)):
        with WeightFiles(folder) as files:
            samples.append(Codec(mono.model.config, files, 1, CPU).decode(codes))
    assert torch.equal(samples[0], samples[1])


def test_names_a_missing_tensor(mono: Reference, tmp_path: Path) -> None:
    def cut(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
        del tensors["decoder.lm_heads.2.weight"], tensors["audio_encoder.quantizer.layers.0.codebook.embed"]
        return {"model.safetensors": tensors}

    with WeightFiles(rewrite(mono, tmp_path, cut)) as files:
        with pytest.raises(ValueError, match=r"must hold the tensor decoder\.lm_heads\.2\.weight, got none"):
            load_decoder(files, decoder_config(read_config(mono.folder)), CPU, torch.float32, 16)
        with pytest.raises(ValueError, match=r"got 1 missing: audio_encoder\.quantizer\.layers\.0\.codebook\.embed"):
            Codec(mono.model.config, files, 1, CPU)


def test_refuses_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold model\*\.safetensors, got none"):
        WeightFiles(tmp_path)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "llama"}, "must have model_type 'musicgen' or 'musicgen_melody', got 'llama'"),
        ({"model_type": "musicgen", "decoder": {"activation_function": "relu"}}, "must be 'gelu', got 'relu'"),
        ({"model_type": "musicgen", "decoder": {"scale_embedding": True}}, "must be False, got True"),
        (
            {"model_type": "musicgen", "decoder": {"num_codebooks": 8}},
            r"num_codebooks must be 4 for each of its 1 audio_channels, got 8",
        ),
        (
            {"model_type": "musicgen", "decoder": {"num_codebooks": 4, "audio_channels": 2}},
            r"num_codebooks must be 4 for each of its 2 audio_channels, got 4",
        ),
    ],
)
def test_refuses_other_architectures(tmp_path: Path, config: dict[str, Any], sentence: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        decoder_config(read_config(tmp_path))


def test_position_embeddings_equal_transformers(mono: Reference) -> None:
    embedding = mono.model.decoder.model.decoder.embed_positions
    assert torch.equal(sinusoids(50, 64), embedding.get_embedding(50, 64))


def test_convolutions_on_a_gpu_are_float32_and_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default; restored afterwards
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    make_convolutions_repeatable()
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic
