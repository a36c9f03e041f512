"""Checkpoints of the real shapes with random weights, drawn on the device: no zeros, no download."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportArgumentType=false
# transformers and safetensors ship types that strict mode cannot follow.

import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import EncodecModel, MusicgenForCausalLM, MusicgenForConditionalGeneration, T5EncoderModel

from benchmarks.checkpoints import config_of, write_settings
from local_aws.hub.tiny_model import save_processor

FILTERS = {"tiny": 4}  # of EnCodec; 64 where it is as published


def write_checkpoint(folder: Path, size: str, device: torch.device) -> None:
    """Write a model of one size as it is staged, its decoder in float16, and forget that it was written."""
    folder.mkdir(parents=True)
    config = config_of(size, save_processor(folder), filters=FILTERS.get(size, 64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text, audio = T5EncoderModel(config.text_encoder), EncodecModel(config.audio_encoder)
    with torch.device("meta"):
        decoder = MusicgenForCausalLM(config.decoder)
        whole = MusicgenForConditionalGeneration(config)
    generator = torch.Generator(device).manual_seed(1)
    tensors = {f"decoder.{name}": drawn(name, one.shape, generator) for name, one in decoder.state_dict().items()}
    tensors |= {
        name: drawn(name, one.shape, generator).float()
        for name, one in whole.state_dict().items()
        if name.startswith("enc_to_dec_proj.")
    }
    tensors |= {f"text_encoder.{name}": one for name, one in text.state_dict().items() if name != TIED}
    tensors |= {f"audio_encoder.{name}": one for name, one in audio.state_dict().items()}
    path = folder / "model.safetensors"
    save_file({name: one.contiguous() for name, one in tensors.items()}, path, metadata={"format": "pt"})
    write_settings(folder, size, config)
    forget(path)


TIED = "encoder.embed_tokens.weight"  # T5's second name for `shared.weight`


def drawn(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Weights that change a layer's input by about as much as the input is large; in float16, on the host."""
    numbers = torch.randn(shape, generator=generator, device=generator.device)
    if len(shape) == 2:
        numbers *= 1 if "embed" in name else shape[1] ** -0.5
    else:
        numbers = numbers * 0.1 + (1 if name.endswith("norm.weight") else 0)
    return numbers.half().cpu()


def forget(path: Path) -> None:
    """Drop a file from the page cache, so that reading it is reading the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)
