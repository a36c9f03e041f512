"""Levels, fades and trimmed tails."""

from typing import Any

import numpy as np
import pytest

from musicgen_serving.audio_processing import fade, normalize, trim_tail
from musicgen_serving.loudness import integrated_loudness

RATE = 32000
RNG = np.random.default_rng(7)


def tune(seconds: float, channels: int = 1, amplitude: float = 0.2) -> Any:
    """Return a chord with a slow tremolo, float32 [channels, samples]."""
    time = np.arange(round(seconds * RATE)) / RATE
    chord = np.stack([np.sin(2 * np.pi * pitch * time) for pitch in (220, 277.2, 329.6, 2217)]).mean(0)
    return np.stack([amplitude * (1 + 0.3 * np.sin(5 * time)) * chord] * channels).astype(np.float32)


def noise(seconds: float, channels: int = 1, amplitude: float = 0.05) -> Any:
    return (amplitude * RNG.standard_normal((channels, round(seconds * RATE)))).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2])
def test_each_strategy_reaches_its_level(channels: int) -> None:
    clip = tune(3, channels)
    assert np.abs(normalize(clip, RATE, "peak")).max() == pytest.approx(10 ** (-1 / 20), rel=1e-5)
    assert np.sqrt((normalize(clip, RATE, "rms") ** 2).mean()) == pytest.approx(10 ** (-18 / 20), rel=1e-4)
    assert integrated_loudness(normalize(clip, RATE, "loudness"), RATE) == pytest.approx(-14, abs=0.01)
    assert normalize(clip, RATE, "none") is clip
    loud = clip * np.float32(20)
    assert np.abs(normalize(loud, RATE, "clip")).max() == pytest.approx(10 ** (-1 / 20))
    assert (normalize(clip, RATE, "clip") == clip).all()


def test_rms_and_loudness_clip_what_exceeds_full_scale() -> None:
    clicks = noise(2, amplitude=0.003)
    clicks[:, ::8000] = 0.9
    for strategy in ("rms", "loudness"):
        level = normalize(clicks, RATE, strategy)
        assert level.dtype == np.float32 and np.abs(level).max() == 1


@pytest.mark.parametrize("strategy", ["clip", "peak", "rms", "loudness"])
@pytest.mark.parametrize("clip", [np.zeros((2, 640), np.float32), noise(1, amplitude=0.0005)], ids=["zeros", "hiss"])
def test_silence_keeps_its_level(clip: Any, strategy: str) -> None:
    assert (normalize(clip, RATE, strategy) == clip).all()


def test_opposite_channels_are_not_silence() -> None:
    clip = tune(1)
    opposite = np.concatenate([clip, -clip])
    assert np.sqrt((normalize(opposite, RATE, "rms") ** 2).mean()) == pytest.approx(10 ** (-18 / 20), rel=1e-4)


def test_fades_begin_and_end_at_zero_and_leave_the_middle() -> None:
    clip = np.ones((2, 1000), np.float32)
    faded = fade(clip, 100, 200)
    assert (faded[:, 0] == 0).all() and (faded[:, -1] == 0).all() and (clip == 1).all()
    assert (
        (faded[:, 100:800] == 1).all() and (np.diff(faded[0, :101]) > 0).all() and (np.diff(faded[0, 800:]) < 0).all()
    )
    assert faded[0, 50] == pytest.approx(0.5)


def test_fades_longer_than_the_clip_are_cut_to_it() -> None:
    faded = fade(np.ones((1, 100), np.float32), 1_000_000, 1_000_000)
    assert faded.shape == (1, 100) and np.abs(faded).max() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.9])
def test_removes_noise_that_follows_music_to_the_end(seconds: float, channels: int) -> None:
    clip = np.concatenate([tune(4, channels), noise(seconds, channels)], axis=1)
    trimmed = trim_tail(clip, RATE)
    assert trimmed.shape[1] / RATE == pytest.approx(4, abs=0.041) and trimmed.shape[1] % 640 == 0
    assert trimmed[:, -1] == pytest.approx(0, abs=1e-6)
    assert (trimmed[:, :-640] == clip[:, : trimmed.shape[1] - 640]).all()


def test_removes_at_most_a_second() -> None:
    clip = np.concatenate([tune(29), noise(1.5)], axis=1)
    assert trim_tail(clip, RATE).shape[1] == round(29.5 * RATE)


@pytest.mark.parametrize(
    "clip",
    [
        tune(5),
        noise(5),  # all of it is noise: so is the music
        np.concatenate([tune(2), noise(0.5), tune(2), noise(0.5)], axis=1),  # the music has such noise
        np.concatenate([tune(4), noise(0.06)], axis=1),  # too short
        np.concatenate([tune(4), noise(0.5), tune(0.2)], axis=1),  # not at the end
        np.concatenate([tune(4), np.zeros((1, 16000), np.float32)], axis=1),
        np.concatenate([tune(1), noise(0.5)], axis=1),  # too short a clip to tell
        np.zeros((2, 5 * RATE), np.float32),
        tune(0.02),
    ],
    ids=[
        "music",
        "noise",
        "noise in the music",
        "a click",
        "noise before the end",
        "silence",
        "short",
        "zeros",
        "tiny",
    ],
)
def test_leaves_what_is_not_certainly_noise(clip: Any) -> None:
    assert trim_tail(clip, RATE) is clip
