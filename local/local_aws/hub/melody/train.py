"""Train the toy melody model: `python -m local_aws.hub.melody.train FOLDER [--seed 0] [--steps 500]`.

It learns to play random chroma; that a recording's chroma shows its melody is the feature extractor's work. Every file
of a Hub repository is written, and what was trained as `trained.safetensors`.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false, reportOptionalCall=false
# transformers ships types that strict mode cannot follow.

import random
import time
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import MusicgenMelodyForConditionalGeneration

from local_aws.hub.melody.model import CODES, GUIDANCE, MAX_FRAMES, PAD, PREFIX, TRAINED, new_model, save, save_trained
from local_aws.hub.melody.music import CHROMA_FRAMES, LEVELS, NOTES, codes_of, draw_chroma
from local_aws.hub.training import fit, training_arguments
from local_aws.hub.tune.music import CODEBOOKS

SEED, STEPS = 0, 500
# Clips and frames of successive steps. A note needs what is near only, but whole clips show what else there is.
BATCHES = ((12, 48),) * 7 + ((1, MAX_FRAMES),)
SLIPS = 1 / 30  # of the codes fed are wrong ones, so that the model recovers from its own mistakes
BEGINNING = 10.0  # times the weight of other codes, with a melody, since it decides which note sounds, and when
SHARPNESS = 2.0  # what logits are multiplied by after training: sampling at temperature 1 then rarely slips


@dataclass(frozen=True)
class Batch:
    """Melodies [clips, CHROMA_FRAMES, 12], one-hot, and codes from the frame `start` on, in the delay pattern.

    `fed` and `target` are [clips, 4, steps]; a clip's first input is the pad token, and what sounds before it later.
    """

    melodies: torch.Tensor
    fed: torch.Tensor
    target: torch.Tensor
    start: int


def draw_batch(clips: int, frames: int, rng: random.Random) -> Batch:
    start = rng.choice((0, rng.randrange(MAX_FRAMES - frames + 1)))
    melodies = [draw_chroma(rng) for _ in range(clips)]
    steps = MAX_FRAMES + CODEBOOKS - 1
    delayed = torch.full((clips, CODEBOOKS, 1 + steps), PAD)
    for row, melody in zip(delayed, melodies, strict=True):
        for delay, codes in enumerate(torch.from_numpy(codes_of(melody, MAX_FRAMES))):
            row[delay, 1 + delay : 1 + delay + MAX_FRAMES] = codes
    end = min(start + frames, steps)
    chroma = functional.one_hot(torch.tensor([melody.tolist() for melody in melodies]), len(NOTES)).float()
    return Batch(chroma, delayed[..., start:end], delayed[..., start + 1 : end + 1], start)


def batch_loss(model: MusicgenMelodyForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Return the mean cross-entropy of the next codes given the melody, given none, and as guidance combines both.

    Half of the melodies come with a text, and none of the rows without.
    """
    target = batch.target
    slips = (batch.fed != PAD) & (torch.rand(target.shape) < SLIPS)
    fed = torch.where(slips, torch.randint(CODES, target.shape), batch.fed)
    clips = len(target)
    null = functional.one_hot(torch.zeros(clips, CHROMA_FRAMES, dtype=torch.long), len(NOTES)).float()
    chroma = model.audio_enc_to_dec_proj(torch.cat([batch.melodies, null]))
    end = model.text_encoder(torch.tensor([[model.text_encoder.config.eos_token_id]])).last_hidden_state
    told_text = (torch.arange(2 * clips) < clips) & (torch.rand(2 * clips) < 0.5)
    text = model.enc_to_dec_proj(end) * told_text[:, None, None]
    states = torch.cat([chroma, text], dim=1)
    embedding = model.decoder.model.decoder.embed_positions
    positions = embedding.weights
    embedding.weights = torch.cat([positions[:PREFIX], positions[PREFIX + batch.start :]])
    hidden = model.decoder.model.decoder(
        fed.repeat(2, 1, 1).flatten(0, 1), encoder_hidden_states=states, use_cache=False
    )
    embedding.weights = positions
    last = hidden.last_hidden_state[:, PREFIX:]
    told, untold = torch.stack([head(last) for head in model.decoder.lm_heads], dim=1).chunk(2)
    guided = untold + GUIDANCE * (told - untold)
    ordinary = (target != PAD).float()
    weighted = ordinary + (BEGINNING - 1) * _begins(batch)
    ways = ((told, weighted), (untold, ordinary), (guided, weighted))
    return torch.stack([_cross_entropy(logits, target, weight) for logits, weight in ways]).mean()


def _begins(batch: Batch) -> torch.Tensor:
    """Return 1 for the codes [clips, 4, steps] that begin a note, in codebook 0 only, else 0."""
    first = (batch.target - 1) % len(LEVELS) == 0
    begins = first & (batch.target != batch.fed) & (batch.target != PAD)
    begins[:, 1:] = False
    return begins.float()


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean over the codes `target` [clips, 4, steps]; logits have another dimension, the codes."""
    losses = functional.cross_entropy(logits.flatten(0, 2), target.flatten(), ignore_index=PAD, reduction="none")
    return (losses.view(target.shape) * weight).sum() / weight.sum()


def train(model: MusicgenMelodyForConditionalGeneration, seed: int, steps: int) -> list[float]:
    """Train the text encoder, the projections and the decoder; return the loss of every step."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    parts = (model.text_encoder, model.decoder, model.enc_to_dec_proj, model.audio_enc_to_dec_proj)

    def loss_of_step(step: int) -> torch.Tensor:
        return batch_loss(model, draw_batch(*BATCHES[step % len(BATCHES)], rng))

    return fit(parts, loss_of_step, steps, report=40)


@torch.no_grad()
def finish(model: MusicgenMelodyForConditionalGeneration) -> None:
    """Sharpen the logits."""
    for head in model.decoder.lm_heads:
        head.weight.mul_(SHARPNESS)


def main() -> None:
    arguments = training_arguments("local_aws.hub.melody.train", __doc__, SEED, STEPS)
    started, folder = time.monotonic(), arguments.folder
    model = new_model(folder, arguments.seed)
    train(model, arguments.seed, arguments.steps)
    finish(model)
    save(model, folder)
    save_trained(model, folder / TRAINED.name)
    size = (folder / TRAINED.name).stat().st_size
    print(f"{size} bytes of trained weights in {time.monotonic() - started:.0f} s, {time.process_time():.0f} s of CPU")


if __name__ == "__main__":
    main()
