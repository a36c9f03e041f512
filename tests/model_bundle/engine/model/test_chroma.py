"""Test a melody's chroma against the published formula, on tones whose pitch class is known."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from musicgen_serving.engine.model.chroma import HOP, WINDOW, Chroma
from tests.model_bundle.engine.model.test_memory import SMALL_MELODY

RATE, C, A = 32_000, 0, 9
CHROMA = Chroma(SMALL_MELODY, RATE)


def tone(hertz: float, seconds: float) -> NDArray[np.float32]:
    """Return a sine [1, n]."""
    return np.sin(2 * np.pi * hertz * np.arange(round(RATE * seconds)) / RATE).astype(np.float32)[None]


def published_filters(rate: int, window: int, bins: int) -> NDArray[np.float64]:
    """Return Ellis' chroma filters as librosa documents them: `librosa.filters.chroma` with its default arguments.

    A Gaussian around each pitch class on a scale of octaves above 27.5 Hz / 16, as wide as the distance between two
    bins of the spectrum or one semitone; columns of norm 1, weighted around the fifth octave; the first row is C.
    """
    hertz = np.arange(1, window) * rate / window
    pitch = bins * np.log2(hertz / (440 / 16))
    pitch = np.concatenate([[pitch[0] - 1.5 * bins], pitch])
    width = np.concatenate([np.maximum(np.diff(pitch), 1), [1]])
    distance = (pitch - np.arange(bins)[:, None] + bins / 2) % bins - bins / 2
    weight = np.exp(-0.5 * (2 * distance / width) ** 2)
    weight /= np.linalg.norm(weight, axis=0)
    weight *= np.exp(-0.5 * ((pitch / bins - 5) / 2) ** 2)
    return np.roll(weight, -3, axis=0)[:, : window // 2 + 1]


def test_filters_are_those_of_the_published_formula() -> None:
    expected = published_filters(RATE, WINDOW, 12)
    np.testing.assert_allclose(CHROMA.filters.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("octave", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("pitch", range(12))
def test_a_tone_has_its_pitch_class(pitch: int, octave: int) -> None:
    hertz = 440 * 2 ** ((pitch - A) / 12 + octave)
    features = CHROMA.features(tone(hertz, 2))
    assert features.shape == (1 + 2 * RATE // HOP, 12)
    assert torch.equal(features, torch.eye(12)[pitch].expand_as(features))


def test_features_equal_the_extractors_formula() -> None:
    """In NumPy, frame by frame: a periodic Hann window over the signal, which is mirrored at its ends."""
    noise = np.random.default_rng(0).normal(size=(2, 3 * RATE + 77)).astype(np.float32)
    mirrored = np.pad(noise.mean(0), WINDOW // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    frames = [mirrored[at : at + WINDOW] * window for at in range(0, len(mirrored) - WINDOW + 1, HOP)]
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 / np.square(window).sum()
    strongest = (power @ published_filters(RATE, WINDOW, 12).T).argmax(1)
    features = CHROMA.features(noise)
    assert features.argmax(1).tolist() == strongest.tolist()
    assert features.sum(1).eq(1).all() and len(set(strongest)) > 2


def test_30_seconds_are_all_frames_and_what_follows_is_not_read() -> None:
    assert len(CHROMA.features(tone(440, 30))) == 235
    longer = np.concatenate([tone(440, 30), tone(523.25, 20)], axis=1)
    features = CHROMA.features(longer)
    assert features.shape == (235, 12)
    assert features[:230].argmax(1).unique().tolist() == [A]


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.51])
def test_a_reference_shorter_than_a_window_is_padded(seconds: float) -> None:
    features = CHROMA.features(tone(440, seconds))
    assert len(features) == 5
    assert features[1:4].argmax(1).tolist() == [A, A, A]


def test_a_later_window_starts_within_the_reference_and_goes_on_from_its_start() -> None:
    reference = np.concatenate([tone(440, 8), tone(523.25, 4)], axis=1)
    classes = CHROMA.features(reference, start=9 * RATE).argmax(1)
    change = 3 * RATE // HOP
    assert classes[: change - 2].unique().tolist() == [C]
    assert classes[change + 3 : change + 60].unique().tolist() == [A]
    assert torch.equal(CHROMA.features(reference, start=12 * RATE), CHROMA.features(reference))


def test_silence_is_the_null_chroma() -> None:
    features = CHROMA.features(np.zeros((1, RATE), np.float32))
    assert torch.equal(features, torch.eye(12)[0].expand_as(features))
