"""The engine with the toy model, and a listener that counts how many clips play what their prompt asks for."""

import io
from collections.abc import Generator as Yields
from collections.abc import Sequence
from contextlib import contextmanager

from local_aws.hub import tune
from local_aws.hub.tune.listening import Heard, listen
from local_aws.hub.tune.prompts import understand
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.sampling_params import DELAY_TOKENS, FRAMES_PER_SECOND, ClipSpec, SamplingParams
from musicgen_serving.json_log import JsonLog

PROMPTS = (
    "a happy, fast tune in G with drums",
    "sad slow piano in D",
    "BRIGHT synth loop in D at a medium pace",
    "80s pop track in D minor with fast drums and bassy synth",
    "calm guitar lullaby in G major",
    "a walking, gloomy jazz melody, key of g",
    "energetic rock track in D major",
    "slow and moody music in G with a beat",
)  # every key, mode and tempo, with and without drums, among words that mean nothing


class Player:
    """Generates clips with the engine as the endpoint does, eight at once."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def play(
        self, prompts: Sequence[str] = PROMPTS, *, seeds: Sequence[int] = (0,), seconds: float = 3,
        guidance: float = 3.0, temperature: float = 1.0,
    ) -> list[Heard]:  # fmt: skip
        """Return what is heard in a clip of each prompt with each seed, prompts varying fastest."""
        tokens = round(seconds * FRAMES_PER_SECOND) + DELAY_TOKENS
        params = SamplingParams(max_new_tokens=tokens, guidance_scale=guidance, temperature=temperature)
        clips = [ClipSpec(prompt, seed, params) for seed in seeds for prompt in prompts]
        result = self.generator.generate(clips)
        return [listen(samples[0], self.generator.sampling_rate) for samples in result.clips]


def share_right(heard: Sequence[Heard], prompts: Sequence[str] = PROMPTS) -> float:
    """Return the share of clips, as `play` returns them, that clearly play what the prompts ask for."""
    right = [clip.matches(understand(prompts[index % len(prompts)])) for index, clip in enumerate(heard)]
    return sum(right) / len(right)


@contextmanager
def toy_player() -> Yields[Player]:
    """The engine, loaded as the endpoint loads it."""
    generator = Generator(
        tune.MODEL, weight_format=WeightFormat(), capacity=Capacity(), log=JsonLog(io.StringIO(), "test")
    )
    try:
        yield Player(generator)
    finally:
        generator.close()
