"""Make a tiny MusicGen: every file of a Hub repository, random weights, 1 MB. It generates noise.

Tests that compare exact values run the real code on it; `make local` has the toy model of `tune`, which plays tunes.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportGeneralTypeIssues=false
# (transformers and tokenizers ship incomplete types)

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    EncodecConfig,
    EncodecFeatureExtractor,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    MusicgenProcessor,
    PreTrainedTokenizerFast,
    T5Config,
)

SAMPLING_RATE = 32_000
CODEBOOK_SIZE = 64
SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>")
LETTERS = "▁abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-#&()"
WORDS = (
    "music", "piano", "guitar", "drums", "bass", "synth", "rock", "pop", "jazz", "calm", "loud", "slow", "fast", "with",
)  # fmt: skip


Model = MusicgenForConditionalGeneration | MusicgenMelodyForConditionalGeneration


def make_tiny_musicgen(folder: Path, *, seed: int = 0, stereo: bool = False, melody: bool = False) -> None:
    """Write a tiny MusicGen to `folder` (created if absent): config, weights, tokenizer, processor, generation config.

    The weights depend on `seed` alone and are rounded through float16, as the published language models' were. Those of
    a stereo model are stored in float16, all of them, as the published ones are. A melody model's processor is that of
    the others: its own feature extractor needs torchaudio, and the bundle reads neither.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = save_processor(folder, stereo=stereo)
    model = _model(vocabulary, seed, stereo, melody)
    (model.half() if stereo else model).save_pretrained(folder)


def write_manifest(
    folder: Path, model_id: str = "facebook/musicgen-small", revision: str = "0" * 40, decoder_dtype: str = "float32"
) -> None:
    """Write the manifest with which `folder` counts as a staged model."""
    manifest = {"layout": 1, "model_id": model_id, "revision": revision, "decoder_dtype": decoder_dtype}
    (folder / "musicgen-manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def save_processor(folder: Path, *, stereo: bool = False, tokenizer: Tokenizer | None = None) -> int:
    """Write the tokenizer, by default that of pieces, and the feature extractor; return the number of tokens.

    The tokenizer is saved as a generic one: transformers 5.5.3 builds a T5Tokenizer anew from its vocabulary, and drops
    the normalizer, which lower-cases.
    """
    tokenizer = tokenizer or piece_tokenizer()
    extractor = EncodecFeatureExtractor(
        feature_size=2 if stereo else 1, sampling_rate=SAMPLING_RATE, padding_side="left", padding_value=0.0
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=512,
    )
    MusicgenProcessor(feature_extractor=extractor, tokenizer=fast).save_pretrained(folder)
    return tokenizer.get_vocab_size()


def piece_tokenizer() -> Tokenizer:
    """Return a tokenizer of T5's kind, which spells unknown words in letters."""
    pieces = [(token, 0.0) for token in SPECIAL_TOKENS]
    pieces += [(f"▁{word}", -5.0) for word in WORDS] + [(letter, -8.0) for letter in LETTERS]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL_TOKENS.index("<unk>"), byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return _like_t5(tokenizer)


def word_tokenizer(words: Sequence[str]) -> Tokenizer:
    """Return a tokenizer that reads the words it knows and drops everything else."""
    pieces = [*SPECIAL_TOKENS, *(f"▁{word}" for word in words)]
    tokenizer = Tokenizer(models.WordLevel({piece: place for place, piece in enumerate(pieces)}, unk_token="<unk>"))
    known = Regex(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, words))})(?![^\W_])")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(known, "removed", invert=True), pre_tokenizers.Metaspace()]
    )
    return _like_t5(tokenizer)


def _like_t5(tokenizer: Tokenizer) -> Tokenizer:
    """Let a tokenizer lower-case, and write `▁` for spaces and `</s>` at the end."""
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.decoder = decoders.Metaspace()
    end = SPECIAL_TOKENS.index("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    return tokenizer


def _model(vocabulary: int, seed: int, stereo: bool, melody: bool) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = _config(vocabulary, stereo, melody)
        if isinstance(config, MusicgenMelodyConfig):
            model: Model = MusicgenMelodyForConditionalGeneration(config).eval()
        else:
            model = MusicgenForConditionalGeneration(config).eval()
        _spread(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    settings = model.generation_config
    settings.bos_token_id = settings.pad_token_id = settings.decoder_start_token_id = CODEBOOK_SIZE
    settings.do_sample, settings.guidance_scale, settings.max_length = True, 3.0, 1500
    return model


def _spread(model: Model) -> None:
    """Draw wider weights than transformers does, so that tokens differ in probability and in sound.

    By default the decoder's matrices have a deviation of 0.02 and EnCodec's codebooks are zero.
    """
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.2)
        for layer in model.audio_encoder.quantizer.layers:
            layer.codebook.embed.normal_()


def _config(vocabulary: int, stereo: bool, melody: bool) -> MusicgenConfig | MusicgenMelodyConfig:
    channels = 2 if stereo else 1
    text = T5Config(
        vocab_size=vocabulary, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    audio = EncodecConfig(
        target_bandwidths=[1.2],  # four codebooks of 64 entries at 50 frames a second: 4 x 6 x 50 bit/s
        sampling_rate=SAMPLING_RATE, audio_channels=1, normalize=False, hidden_size=16, num_filters=2,
        num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4], codebook_size=CODEBOOK_SIZE, codebook_dim=16,
        use_causal_conv=False, num_lstm_layers=1, norm_type="weight_norm", use_conv_shortcut=False,
    )  # fmt: skip
    sizes: dict[str, Any] = dict(
        vocab_size=CODEBOOK_SIZE, max_position_embeddings=2048, num_hidden_layers=2, ffn_dim=64, num_attention_heads=4,
        hidden_size=32, num_codebooks=4 * channels, audio_channels=channels, dropout=0.0, tie_word_embeddings=False,
        pad_token_id=CODEBOOK_SIZE, bos_token_id=CODEBOOK_SIZE, eos_token_id=None,
    )  # fmt: skip
    if melody:
        decoder = MusicgenMelodyDecoderConfig(**sizes)
        return MusicgenMelodyConfig(text_encoder=text, audio_encoder=audio, decoder=decoder)
    return MusicgenConfig(text_encoder=text, audio_encoder=audio, decoder=MusicgenDecoderConfig(**sizes))


if __name__ == "__main__":
    make_tiny_musicgen(Path(sys.argv[1]))
