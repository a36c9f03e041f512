"""Test a melody model from samples to codes, against transformers with the same features, and the refusal of others."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers ships types that strict mode cannot follow.

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from local_aws.hub.tiny_model import make_tiny_musicgen
from musicgen_serving.engine.errors import MelodyUnsupportedError
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.model.chroma import Chroma
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.http.errors import InvalidRequestError, translate_engine_error
from tests.model_bundle.helpers.memory_log import MemoryLog
from tests.model_bundle.helpers.reference_melody import ConditionedMusicgenMelody, MelodyReference

RATE, FRAMES = 32_000, 30
PARAMS = SamplingParams(max_new_tokens=FRAMES + 3, do_sample=False)
TEXTS = ["80s pop track with bassy drums and synth", "a calm tune"]


@pytest.fixture(scope="module", params=[False, True], ids=["mono", "stereo"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny_melody")
    make_tiny_musicgen(path, stereo=request.param, melody=True)
    return path


@pytest.fixture(scope="module")
def melody_generator(folder: Path, one_thread: None) -> Iterator[Generator]:
    loaded = Generator(
        folder, weight_format=WeightFormat(dtype="float32"), capacity=Capacity(slots=2), log=MemoryLog().log
    )
    yield loaded
    loaded.close()


def scale(*hertz: float, seconds: float = 0.6) -> NDArray[np.float32]:
    """Return one tone after another, [2, n]: the right channel is softer."""
    time = np.arange(round(RATE * seconds)) / RATE
    tones = np.concatenate([np.sin(2 * np.pi * one * time) for one in hertz])
    return np.stack([tones, tones / 2]).astype(np.float32)


def test_clips_have_the_codes_of_transformers_in_any_batch(folder: Path, melody_generator: Generator) -> None:
    """Three clips for two slots: the last is admitted when another has left."""
    tune = scale(261.63, 329.63, 392.0)
    clips = [
        ClipSpec(TEXTS[0], 0, PARAMS, melody=tune),
        ClipSpec(TEXTS[1], 0, SamplingParams(max_new_tokens=FRAMES + 13, do_sample=False)),
        ClipSpec(None, 0, PARAMS, melody=tune[:, : 3 * RATE // 2]),
    ]
    result = melody_generator.generate(clips)
    model = ConditionedMusicgenMelody.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    chroma = Chroma(melody_generator.runner.config, RATE)
    for clip, codes in zip(clips, result.codes, strict=True):
        tokens = torch.tensor([melody_generator.tokenize(0, clip.text)] if clip.text else [[1]])
        reference = MelodyReference(model, folder, tokens, torch.ones_like(tokens))
        melody = None if clip.melody is None else chroma.features(clip.melody)
        expected = reference.codes(clip.params.frames, 3.0, text=0 if clip.text else None, melody=melody)
        assert codes.tolist() == expected.tolist()
    assert result.clips[0].shape == (melody_generator.channels, FRAMES * 640)


def test_another_tune_gives_another_clip(melody_generator: Generator) -> None:
    tunes = [None, scale(293.66), scale(392.0)]  # not C, whose chroma is that of no melody
    codes = melody_generator.generate([ClipSpec(TEXTS[0], 0, PARAMS, melody=one) for one in tunes]).codes
    assert len({one.tobytes() for one in codes}) == 3


def test_a_seed_gives_the_same_clip_alone_and_in_a_batch(melody_generator: Generator) -> None:
    clips = [ClipSpec(text, 7, SamplingParams(max_new_tokens=33), melody=scale(440.0)) for text in TEXTS]
    together = melody_generator.generate(clips).codes
    for clip, codes in zip(clips, together, strict=True):
        assert np.array_equal(melody_generator.generate([clip]).codes[0], codes)


def test_a_model_without_melodies_refuses_them_and_names_those_with(generator: Generator) -> None:
    assert not generator.follows_melodies
    with pytest.raises(MelodyUnsupportedError, match=r"sent to a melody model \(facebook/musicgen-melody, ") as caught:
        generator.generate([ClipSpec(None, 0, PARAMS, melody=scale(440.0))])
    refusal = translate_engine_error(caught.value)
    assert isinstance(refusal, InvalidRequestError) and refusal.status == 422
    assert generator.generate([ClipSpec(None, 0, PARAMS)]).clips  # and serves on
