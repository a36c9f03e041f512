"""The engine with the toy model, and a listener that counts how many clips play what their prompt asks for."""

import io
from collections.abc import Generator as Yields
from collections.abc import Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from local_aws.hub import tune
from local_aws.hub.tune.listening import Heard, listen
from local_aws.hub.tune.prompts import understand
from musicgen_serving.engine.generator import Capacity, GenerationResult, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.request import Request
from musicgen_serving.engine.sampling_params import DELAY_TOKENS, FRAMES_PER_SECOND, ClipSpec, SamplingParams, Section
from musicgen_serving.json_log import JsonLog

PROMPTS = (
    "An uplifting and quick anthem in the key of D, with percussion",
    "gloomy strings, relaxed, in G minor",
    "g major: lively fiddle dance",
    "A mournful organ in D at a moderate tempo",
    "Quick Sunny Ukulele in G",
    "walking bass with a beat in D major",
    "sleepy music box, D minor",
    "moody driving techno with drum machine in G minor",
    "cheerful medium ragtime, key of G",
    "slow dark drone in D, percussion from afar",
    "joyful gentle harp in D major",
    "melancholic upbeat indie rock in G",
    "a moderate, bright march in G with drums",
    "energetic sad violin in D",
    "A calm, happy whistle in D with soft beats",
    "minor blues in G, medium, guitar & harmonica",
)  # each names key, mode and tempo, with and without drums; written before the model was trained
SLOTS = 16  # a step of so small a model takes hardly longer for more clips
SECONDS = 3  # of a clip
FEW = PROMPTS[:8]  # for planted faults, which ruin most clips
UNKNOWN = (
    "♪ 東京 happy fast tune in G with drums",
    "¿sad? slow größe in D — “naïve”",
    "kwyjibo bright loop in D medium pace kwyjibo",
    "Ω≈ç√ minor fast drums in D 🎸",
    "gwendolyn dances a calm major waltz in G",
    "deep gloomy walking jazz in G (café)",
    "$$$ energetic rock in D major €",
    "slow moody G-beat ½ ™",
)  # words and characters that the tokenizer lacks


class Player:
    """Generates clips with the engine as the endpoint does."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def generate(self, prompts: Sequence[str]) -> GenerationResult:
        """Return a clip of each prompt; clip i has the seed i.

        A seed's random numbers do not depend on the prompt, so that clips of one seed would share their mistakes.
        """
        params = _params(SECONDS)
        return self.generator.generate([ClipSpec(prompt, seed, params) for seed, prompt in enumerate(prompts)])

    def hear(self, result: GenerationResult) -> list[Heard]:
        """Return what is heard in each clip."""
        return [listen(samples[0], self.generator.sampling_rate) for samples in result.clips]

    def play(self, prompts: Sequence[str]) -> list[Heard]:
        """Return what is heard in a clip of each prompt."""
        return self.hear(self.generate(prompts))

    def play_long(self, prompts: Sequence[str], sections: Sequence[str]) -> tuple[list[NDArray[np.float32]], int]:
        """Return a clip of 30 s of each prompt and a last one with 20 s of each section, and their sampling rate.

        All are generated at once: neighbours change no bit of a clip, and a step takes hardly longer for more.
        """
        params = _params(30)
        clips = [ClipSpec(prompt, seed, params) for seed, prompt in enumerate(prompts)]
        parts = tuple(Section(prompt, 20 * FRAMES_PER_SECOND) for prompt in sections)
        clips.append(ClipSpec(None, 0, SamplingParams(), sections=parts))
        result = self.generator.generate(clips)
        return [samples[0] for samples in result.clips], self.generator.sampling_rate

    def play_on(self, result: GenerationResult) -> list[Heard]:
        """Return what is heard in clips that continue the codes of those of `result` without a text.

        Clip i has the seed i + 1, not that of the clip it continues. The toy model's encoder hears nothing, so its
        clips cannot be continued from their samples.
        """
        prompts: list[torch.Tensor | None] = [torch.as_tensor(codes) for codes in result.codes]
        clips = [ClipSpec(None, index + 1, _params(SECONDS)) for index in range(len(prompts))]
        request = Request(clips, [[[]] for _ in clips], prompts=prompts)
        self.generator.engine.submit(request)
        worker = self.generator.codec_worker
        decodings = [worker.begin(request, index) for index in range(len(clips))]
        parts: list[list[NDArray[np.float32]]] = [[] for _ in clips]
        for part in request.parts():
            parts[part.index].append(worker.decode(decodings[part.index], part).samples[0])
        return [listen(np.concatenate(samples), self.generator.sampling_rate) for samples in parts]


def _params(seconds: float) -> SamplingParams:
    return SamplingParams(max_new_tokens=round(seconds * FRAMES_PER_SECOND) + DELAY_TOKENS, guidance_scale=3.0)


def share_right(heard: Sequence[Heard], prompts: Sequence[str]) -> float:
    """Return the share of clips that clearly play what the prompts ask for."""
    right = [clip.matches(understand(prompt)) for clip, prompt in zip(heard, prompts, strict=True)]
    return sum(right) / len(right)


@contextmanager
def toy_player() -> Yields[Player]:
    """The engine, loaded as the endpoint loads it."""
    generator = Generator(
        tune.MODEL, weight_format=WeightFormat(), capacity=Capacity(slots=SLOTS), log=JsonLog(io.StringIO(), "test")
    )
    try:
        yield Player(generator)
    finally:
        generator.close()
