"""Loudness against published figures: ITU-R BS.1770-4's coefficients, and the test signals of EBU Tech 3341."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from musicgen_serving.loudness import integrated_loudness, k_weighting


def sine(decibels: float, seconds: float, rate: int, frequency: float = 1000.0) -> NDArray[np.float64]:
    """Return a sine whose peak is `decibels` below full scale."""
    return 10 ** (decibels / 20) * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def test_the_filter_has_the_recommendations_coefficients_at_48_khz() -> None:
    shelf, high_pass = k_weighting(48000)
    published = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585]
    np.testing.assert_allclose(shelf, published, atol=1e-12)
    np.testing.assert_allclose(high_pass, [1, -2, 1, 1, -1.99004745483398, 0.99007225036621], atol=1e-12)


@pytest.mark.parametrize(
    ("rate", "error"), [(16000, 0.05), (32000, 0.02), (44100, 0.01), (48000, 0.005), (96000, 0.02)]
)
def test_a_full_scale_sine_of_997_hz_in_one_channel_has_minus_3_01_lkfs(rate: int, error: float) -> None:
    assert integrated_loudness(sine(0, 5, rate, 997)[None], rate) == pytest.approx(-3.01, abs=error)


# EBU Tech 3341, table 1: (decibels, seconds) of the stereo sine's sections; each is -23.0 LUFS within 0.1.
CASES = {
    1: [(-23, 20)],
    3: [(-36, 10), (-23, 60), (-36, 10)],
    4: [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)],
    5: [(-26, 20), (-20, 20.1), (-26, 20)],
}


@pytest.mark.parametrize("rate", [32000, 48000])
@pytest.mark.parametrize("case", CASES)
def test_ebu_tech_3341_in_stereo(case: int, rate: int) -> None:
    mono = np.concatenate([sine(decibels, seconds, rate) for decibels, seconds in CASES[case]])
    assert integrated_loudness(np.stack([mono, mono]), rate) == pytest.approx(-23.0, abs=0.1)


def test_ebu_tech_3341_case_2_is_ten_units_quieter() -> None:
    assert integrated_loudness(np.stack([sine(-33, 20, 32000)] * 2), 32000) == pytest.approx(-33.0, abs=0.1)


def test_ebu_tech_3341_case_6_weights_surround_channels() -> None:
    channels = [sine(decibels, 20, 48000) for decibels in (-28, -28, -24, -30, -30)]
    assert integrated_loudness(np.stack(channels), 48000) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize(
    "samples",
    [np.zeros((2, 32000)), 1e-5 * np.ones((1, 32000)), sine(-75, 1, 32000)[None], np.full((1, 32000), np.nan)],
)
def test_what_lies_below_the_absolute_gate_has_no_loudness(samples: NDArray[np.float64]) -> None:
    assert integrated_loudness(samples, 32000) == -math.inf


def test_the_shortest_clip_counts_as_one_block() -> None:
    assert math.isfinite(integrated_loudness(sine(-20, 0.02, 32000)[None], 32000))
