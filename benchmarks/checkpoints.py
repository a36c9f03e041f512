"""Checkpoints of MusicGen's real shapes with random weights: zeros would be too fast."""
# pyright: reportUnknownMemberType=false, reportCallIssue=false
# transformers ships types that strict mode cannot follow.

from pathlib import Path

import torch
from transformers import (
    EncodecConfig,
    GenerationConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    T5Config,
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


def make_checkpoint(folder: Path, size: str) -> None:
    """Write a model, its processor and its manifest to `folder`; the codec is small because it is not measured."""
    folder.mkdir(parents=True)
    vocabulary = save_processor(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MusicgenForConditionalGeneration(config_of(size, vocabulary)).eval()
    model.save_pretrained(folder)
    write_settings(folder, size, model.config)


def write_settings(folder: Path, size: str, config: MusicgenConfig) -> None:
    """Write a checkpoint's configuration and manifest."""
    config.save_pretrained(folder)
    GenerationConfig(
        bos_token_id=CODEBOOK_SIZE, pad_token_id=CODEBOOK_SIZE, decoder_start_token_id=CODEBOOK_SIZE, do_sample=True,
        guidance_scale=3.0, max_length=1500,
    ).save_pretrained(folder)  # fmt: skip
    write_manifest(folder, f"random/musicgen-{size}")


def config_of(size: str, vocabulary: int, filters: int = 4) -> MusicgenConfig:
    """Return the published shapes, except EnCodec's number of filters, which is 64 there."""
    layers, width, heads, ffn = SIZES[size]
    t5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
    if size != "tiny":
        t5 = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
    audio = EncodecConfig(
        target_bandwidths=[2.2], sampling_rate=32_000, audio_channels=1, normalize=False, hidden_size=128,
        num_filters=filters, num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4], codebook_size=CODEBOOK_SIZE,
        codebook_dim=128, use_causal_conv=False, norm_type="weight_norm", use_conv_shortcut=False,
    )  # fmt: skip
    decoder = MusicgenDecoderConfig(
        vocab_size=CODEBOOK_SIZE, num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, ffn_dim=ffn,
        num_codebooks=4, tie_word_embeddings=False,
        pad_token_id=CODEBOOK_SIZE, bos_token_id=CODEBOOK_SIZE, eos_token_id=None,
    )  # fmt: skip
    return MusicgenConfig(text_encoder=T5Config(vocab_size=vocabulary, **t5), audio_encoder=audio, decoder=decoder)
