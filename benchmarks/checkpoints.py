"""Write checkpoints of MusicGen's published shapes with random weights; zeros would be too fast."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportCallIssue=false
# pyright: reportArgumentType=false
# transformers and safetensors ship types that strict mode cannot follow.

import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    EncodecConfig,
    EncodecModel,
    GenerationConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForCausalLM,
    MusicgenForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

from local_aws.hub.tiny_model import save_processor, write_manifest

# layers, width, heads and feed-forward width of the published language models, and of one that shows the overhead alone
SIZES = {
    "tiny": (4, 64, 4, 256),
    "small": (24, 1024, 16, 4096),
    "medium": (48, 1536, 24, 6144),
    "large": (48, 2048, 32, 8192),
}
CODEBOOK_SIZE = 2048
TIED = "encoder.embed_tokens.weight"  # T5's second name for `shared.weight`


def write_checkpoint(folder: Path, size: str, device: torch.device) -> None:
    """Write a model as it is staged, with a random float16 decoder, and drop it from the page cache."""
    folder.mkdir(parents=True)
    config = model_config(size, save_processor(folder))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text, audio = T5EncoderModel(config.text_encoder), EncodecModel(config.audio_encoder)
    with torch.device("meta"):
        decoder, whole = MusicgenForCausalLM(config.decoder), MusicgenForConditionalGeneration(config)
    generator = torch.Generator(device).manual_seed(1)
    tensors = {f"decoder.{name}": draw(name, one.shape, generator) for name, one in decoder.state_dict().items()}
    tensors |= {
        name: draw(name, one.shape, generator).float()
        for name, one in whole.state_dict().items()
        if name.startswith("enc_to_dec_proj.")
    }
    tensors |= {f"text_encoder.{name}": one for name, one in text.state_dict().items() if name != TIED}
    tensors |= {f"audio_encoder.{name}": one for name, one in audio.state_dict().items()}
    path = folder / "model.safetensors"
    save_file({name: one.contiguous() for name, one in tensors.items()}, path, metadata={"format": "pt"})
    config.save_pretrained(folder)
    GenerationConfig(
        bos_token_id=CODEBOOK_SIZE, pad_token_id=CODEBOOK_SIZE, decoder_start_token_id=CODEBOOK_SIZE, do_sample=True,
        guidance_scale=3.0, max_length=1500,
    ).save_pretrained(folder)  # fmt: skip
    write_manifest(folder, f"random/musicgen-{size}")
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def model_config(size: str, vocabulary: int) -> MusicgenConfig:
    """Return the published shapes; tiny has a small text encoder and codec too."""
    layers, width, heads, ffn = SIZES[size]
    t5 = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
    if size == "tiny":
        t5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    audio = EncodecConfig(
        target_bandwidths=[2.2], sampling_rate=32_000, audio_channels=1, normalize=False, hidden_size=128,
        num_filters=4 if size == "tiny" else 64, num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4],
        codebook_size=CODEBOOK_SIZE, codebook_dim=128, use_causal_conv=False, norm_type="weight_norm",
        use_conv_shortcut=False,
    )  # fmt: skip
    decoder = MusicgenDecoderConfig(
        vocab_size=CODEBOOK_SIZE, num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, ffn_dim=ffn,
        num_codebooks=4, tie_word_embeddings=False,
        pad_token_id=CODEBOOK_SIZE, bos_token_id=CODEBOOK_SIZE, eos_token_id=None,
    )  # fmt: skip
    return MusicgenConfig(text_encoder=T5Config(vocab_size=vocabulary, **t5), audio_encoder=audio, decoder=decoder)


def draw(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Return float16 weights on the host with which a layer's output is about as large as its input."""
    values = torch.randn(shape, generator=generator, device=generator.device)
    if len(shape) == 2:
        values *= 1 if "embed" in name else shape[1] ** -0.5
    else:
        values = values * 0.1 + (1 if name.endswith("norm.weight") else 0)
    return values.half().cpu()
