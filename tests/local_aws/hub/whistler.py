"""The engine with the toy melody model, and a listener that counts how many notes of a melody its clips follow."""

import io
from collections.abc import Generator as Yields
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from local_aws.hub.melody.listening import Note, notes_right, pitch_classes
from local_aws.hub.melody.model import write_model
from local_aws.hub.tune.music import SAMPLING_RATE
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.sampling_params import DELAY_TOKENS, FRAMES_PER_SECOND, ClipSpec, SamplingParams, Section
from musicgen_serving.json_log import JsonLog
from tests.local_aws.hub.player import SLOTS


class Whistler:
    """Generates clips with the engine as the endpoint does."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def follow(
        self, melodies: Sequence[NDArray[np.float32] | None], *, seconds: float = 5.0, guidance: float = 3.0,
        text: str | None = None,
    ) -> list[NDArray[np.int64]]:  # fmt: skip
        """Return the pitch classes that are heard in a clip of each melody; clip i has the seed `i`."""
        params = SamplingParams(
            max_new_tokens=round(seconds * FRAMES_PER_SECOND) + DELAY_TOKENS, guidance_scale=guidance
        )
        return self._heard([ClipSpec(text, seed, params, melody=one) for seed, one in enumerate(melodies)])

    def follow_in_sections(self, melody: NDArray[np.float32], seconds: Sequence[float]) -> NDArray[np.int64]:
        """Return the pitch classes that are heard in one clip, of which each section is a window of its own."""
        sections = tuple(Section("whistle", round(one * FRAMES_PER_SECOND)) for one in seconds)
        return self._heard([ClipSpec(None, 0, SamplingParams(), sections=sections, melody=melody)])[0]

    def _heard(self, clips: list[ClipSpec]) -> list[NDArray[np.int64]]:
        return [pitch_classes(samples[0], SAMPLING_RATE) for samples in self.generator.generate(clips).clips]


def share_right(heard: Sequence[NDArray[np.int64]], melodies: Sequence[Sequence[Note]]) -> float:
    """Return the share of all notes that are heard at their times."""
    right = [one for classes, melody in zip(heard, melodies, strict=True) for one in notes_right(classes, melody)]
    return sum(right) / len(right)


@contextmanager
def toy_whistler(folder: Path) -> Yields[Whistler]:
    """The engine with the toy melody model, written to `folder`, loaded as the endpoint loads it."""
    write_model(folder)
    generator = Generator(
        folder, weight_format=WeightFormat(), capacity=Capacity(slots=SLOTS), log=JsonLog(io.StringIO(), "test")
    )
    try:
        yield Whistler(generator)
    finally:
        generator.close()
