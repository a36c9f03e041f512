"""Make the toy model: `python -m local_aws.hub.tune.train FOLDER [--seed 0] [--steps 1000]`.

MusicGen's architecture, end to end. The codec is constructed; text encoder and decoder learn to continue tunes that
`music` draws, from prompts that `prompts` draws. Every file of a Hub repository is written, weights in float16.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false, reportOptionalCall=false
# transformers ships types that strict mode cannot follow.

import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    PreTrainedTokenizerBase,
    T5Config,
)

from local_aws.hub.tiny_model import save_processor, word_tokenizer
from local_aws.hub.training import fit, training_arguments
from local_aws.hub.tune.codec import RATIOS, construct_codec
from local_aws.hub.tune.music import CODEBOOKS, SAMPLING_RATE, TONES, codebook_entries, draw_codes, draw_tune
from local_aws.hub.tune.prompts import WORDS, draw_prompt

SEED, STEPS = 0, 1000
CODEBOOK_SIZE = PAD = 128  # the pad token fills what the delay pattern leaves empty
MAX_FRAMES = 1500  # 30 s
# Clips and frames of successive steps, about as many tokens each: only a tune's start needs the prompt, and only whole
# clips show what is far away.
BATCHES = ((48, 16), (8, 128), (48, 16), (2, 384), (48, 16), (8, 128), (48, 16), (1, MAX_FRAMES))
GUIDANCE = 3.0
# How much of the loss comes from prompts of another tune. A tune's first code is right with the prompt's odds r to 1
# against each of the other 11: r = 1 + 12 (1 - u) / u = 2.8 at guidance 1, and 2.8^3 at guidance 3.
UNRELATED = 0.87
FIRST_CODE = 8.0  # times the weight of others, since it decides what the tune is like
FIRST_CODE_SHARPNESS = 2.5  # at which guidance is to make the first code certain; without it, guidance 1 would be, too
SLIPS = 1 / 30  # of the codes fed are wrong ones, so that the model recovers from its own mistakes
SHARPNESS = 4.0  # what logits are multiplied by after training: sampling at temperature 1 then rarely slips


@dataclass(frozen=True)
class Batch:
    """Prompts, the tunes' codes in the delay pattern, and which prompts are the tunes' own."""

    prompts: list[str]
    target: torch.Tensor  # [clips, 4, frames + 3]
    related: torch.Tensor  # [clips], bool


def new_model(folder: Path, seed: int) -> MusicgenForConditionalGeneration:
    """Write the tokenizer to `folder`; return the model as it is before training, with its codec constructed."""
    vocabulary = save_processor(folder, tokenizer=word_tokenizer(WORDS))
    torch.manual_seed(seed)
    model = MusicgenForConditionalGeneration(_config(vocabulary))
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.1)  # transformers' 0.02 suits wider models
    construct_codec(model.audio_encoder, TONES, codebook_entries())
    settings = model.generation_config
    settings.bos_token_id = settings.pad_token_id = settings.decoder_start_token_id = PAD
    settings.do_sample, settings.guidance_scale, settings.max_length = True, GUIDANCE, MAX_FRAMES
    return model


def _config(vocabulary: int) -> MusicgenConfig:
    text = T5Config(
        vocab_size=vocabulary, d_model=48, d_kv=12, d_ff=96, num_layers=2, num_heads=4, dropout_rate=0.0,
        decoder_start_token_id=0,
    )  # fmt: skip
    audio = EncodecConfig(
        target_bandwidths=[1.4],  # kbit/s: four codebooks of 128 entries at 50 frames a second
        sampling_rate=SAMPLING_RATE, audio_channels=1, normalize=False, hidden_size=32, codebook_dim=32, num_filters=8,
        num_residual_layers=1, upsampling_ratios=list(RATIOS), codebook_size=CODEBOOK_SIZE, use_causal_conv=False,
        num_lstm_layers=1, norm_type="weight_norm", use_conv_shortcut=False,
    )  # fmt: skip
    decoder = MusicgenDecoderConfig(
        vocab_size=CODEBOOK_SIZE, max_position_embeddings=2048, hidden_size=64, num_hidden_layers=3, ffn_dim=192,
        num_attention_heads=4, num_codebooks=CODEBOOKS, dropout=0.0, tie_word_embeddings=False, pad_token_id=PAD,
        bos_token_id=PAD, eos_token_id=None,
    )  # fmt: skip
    for part in (text, audio, decoder):
        part.dtype = torch.float32  # what transformers computes in, though the file has float16
    return MusicgenConfig(text_encoder=text, audio_encoder=audio, decoder=decoder, dtype=torch.float32)


def draw_batch(clips: int, frames: int, rng: random.Random) -> Batch:
    tunes = [draw_tune(rng) for _ in range(clips)]
    related = [row % 2 == 0 for row in range(clips)]
    named = [tune if own else draw_tune(rng) for tune, own in zip(tunes, related, strict=True)]
    target = torch.full((clips, CODEBOOKS, frames + CODEBOOKS - 1), PAD)
    for row, tune in zip(target, tunes, strict=True):
        for delay, codes in enumerate(torch.from_numpy(draw_codes(tune, frames, rng))):
            row[delay, delay : delay + frames] = codes
    return Batch([draw_prompt(tune, rng) for tune in named], target, torch.tensor(related))


def batch_loss(
    model: MusicgenForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, batch: Batch
) -> torch.Tensor:
    """Return the mean cross-entropy of the next codes given the prompt, given none, and as guidance combines both.

    Guidance is judged by related prompts only: with it, a prompt is certain.
    """
    text = tokenizer(batch.prompts, padding=True, return_tensors="pt")
    target = batch.target
    slips = (target != PAD) & (torch.rand(target.shape) < SLIPS)
    fed = torch.where(slips, torch.randint(CODEBOOK_SIZE, target.shape), target).roll(1, -1)
    fed[..., 0] = PAD
    states, mask = model.text_encoder(**text).last_hidden_state, text.attention_mask
    logits = model(
        decoder_input_ids=fed.flatten(0, 1).repeat(2, 1), encoder_outputs=(torch.cat([states, states]),),
        attention_mask=torch.cat([mask, torch.zeros_like(mask)]),
    ).logits  # fmt: skip
    told, untold = logits.view(2, *target.shape, CODEBOOK_SIZE)
    guided = untold + GUIDANCE * (told - untold)
    own = batch.related[:, None, None]
    first = torch.zeros(target.shape[1:])
    first[0, 0] = 1.0
    guided = guided * (1 + first * (FIRST_CODE_SHARPNESS - 1))[..., None]
    weight = (1 + first * (FIRST_CODE - 1)) * (target != PAD)
    ways = ((told, weight * torch.where(own, 1 - UNRELATED, UNRELATED)), (untold, weight), (guided, weight * own))
    return torch.stack([_cross_entropy(logits, target, weight) for logits, weight in ways]).mean()


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean over the codes `target` [clips, 4, steps]; logits have another dimension, the codes."""
    losses = functional.cross_entropy(logits.flatten(0, 2), target.flatten(), ignore_index=PAD, reduction="none")
    return (losses.view(target.shape) * weight).sum() / weight.sum()


def train(
    model: MusicgenForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, seed: int, steps: int
) -> list[float]:
    """Train text encoder, projection and decoder; return the loss of every step."""
    rng = random.Random(seed)
    embedding = model.decoder.model.decoder.embed_positions
    positions = embedding.weights

    def loss_of_step(step: int) -> torch.Tensor:
        clips, frames = BATCHES[step % len(BATCHES)]
        # Half of the batches start anywhere in a clip, so that no position is new to the model.
        offset = rng.choice((0, rng.randrange(len(positions) - frames - CODEBOOKS)))
        embedding.weights = positions[offset:]
        return batch_loss(model, tokenizer, draw_batch(clips, frames, rng))

    losses = fit((model.text_encoder, model.decoder, model.enc_to_dec_proj), loss_of_step, steps, report=100)
    embedding.weights = positions
    return losses


@torch.no_grad()
def finish(model: MusicgenForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> None:
    """Sharpen the logits, and make a pad token in the text sound like "minor", so that a forgotten mask is heard."""
    for head in model.decoder.lm_heads:
        head.weight.mul_(SHARPNESS)
    embeddings = model.text_encoder.shared.weight
    embeddings[tokenizer.pad_token_id] = embeddings[tokenizer.convert_tokens_to_ids("▁minor")]


def save(model: MusicgenForConditionalGeneration, folder: Path) -> None:
    """Write configuration and weights, in float16; the configuration says float32, which is what they are used in."""
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tied = "text_encoder.encoder.embed_tokens.weight"
    tensors = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items() if name != tied}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    arguments = training_arguments("local_aws.hub.tune.train", __doc__, SEED, STEPS)
    started, folder = time.monotonic(), arguments.folder
    model = new_model(folder, arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    train(model, tokenizer, arguments.seed, arguments.steps)
    finish(model, tokenizer)
    save(model, folder)
    size = (folder / "model.safetensors").stat().st_size
    print(f"{size} bytes of weights in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
