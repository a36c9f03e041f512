"""Test loops: their length is exact to a sample, and their end leads into their start."""

import numpy as np
import pytest

from musicgen_serving.loop import Loop

RATE = 32_000


@pytest.mark.parametrize(("bpm", "bars", "samples"), [(120, 4, 256_000), (97, 3, 237_526), (300, 1, 25_600)])
def test_the_length_is_that_of_its_bars_to_a_sample(bpm: float, bars: int, samples: int) -> None:
    loop = Loop(bpm, bars)
    audio = np.zeros((2, loop.frames * 640), np.float32)
    assert loop.close(audio, RATE).shape == (2, samples)


@pytest.mark.parametrize("bpm", [60, 97, 120.5])
def test_the_end_leads_into_the_start(bpm: float) -> None:
    """Music that goes on smoothly over the end: the seam's jump is like any other's, and only the start has changed."""
    loop = Loop(bpm, 2)
    rng = np.random.default_rng(1)
    time = np.arange(loop.frames * 640) / RATE
    tones = [np.sin(2 * np.pi * rng.uniform(80, 2000) * time + rng.uniform(0, 6)) for _ in range(8)]
    audio = (0.1 * np.sum(tones, axis=0)).astype(np.float32)[None]
    closed = loop.close(audio, RATE)
    length = closed.shape[1]
    assert closed[0, 0] == audio[0, length]
    jumps = np.abs(np.diff(closed[0]))
    assert abs(closed[0, 0] - closed[0, -1]) <= np.percentile(jumps, 99)
    join = round(0.1 * RATE)
    assert np.abs(np.diff(np.concatenate([closed[0, -join:], closed[0, : 2 * join]]))).max() <= jumps.max() * 1.01
    np.testing.assert_array_equal(closed[0, join:], audio[0, join:length])
    assert abs(audio[0, 0] - audio[0, length - 1]) > np.percentile(jumps, 50)  # cut only, it would not join as well
