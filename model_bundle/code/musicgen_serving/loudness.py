"""Integrated loudness by Recommendation ITU-R BS.1770-4, of clips at any sampling rate."""

import math
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray

_signal: Any = scipy.signal  # it has no types

BLOCK_SECONDS = 0.4
STEP_SECONDS = 0.1  # blocks overlap by 75 %
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU
_OFFSET = -0.691  # dB: what K-weighting adds at 997 Hz
CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)  # left, right, centre and the surrounds; mono is one of weight 1
# The analogue filters behind the recommendation's coefficients, which it states for 48 kHz only. Found by fitting
# (Mansbridge, Finn and Reiss, "Implementation and Evaluation of Autonomous Multi-track Fader Control", AES 132, 2012).
_SHELF = (1681.974450955533, 3.999843853973347, 0.7071752369554196)  # Hz, dB, Q
_HIGH_PASS = (38.13547087602444, 0.5003270373238773)  # Hz, Q


def integrated_loudness(samples: NDArray[np.floating], rate: int) -> float:
    """Return the loudness of `samples` [channels, samples] in LUFS; -inf if all of it is below the absolute gate.

    A clip shorter than a block of 400 ms, for which the recommendation has no answer, counts as one block.
    """
    weighted: NDArray[np.float64] = _signal.sosfilt(k_weighting(rate), samples.astype(np.float64), axis=-1)
    block, step = round(BLOCK_SECONDS * rate), round(STEP_SECONDS * rate)
    block = min(block, weighted.shape[1])
    energy = np.concatenate([np.zeros((len(weighted), 1)), np.cumsum(weighted**2, axis=1)], axis=1)
    starts: NDArray[np.int64] = np.arange(0, weighted.shape[1] - block + 1, step, dtype=np.int64)
    power = (energy[:, starts + block] - energy[:, starts]) / block  # [channels, blocks]
    total = np.array(CHANNEL_WEIGHTS[: len(power)]) @ power
    with np.errstate(divide="ignore"):
        levels = _OFFSET + 10 * np.log10(np.maximum(total, 0))
    loud = total[levels > ABSOLUTE_GATE]
    if not len(loud):
        return -math.inf
    gate = _OFFSET + 10 * math.log10(loud.mean()) + RELATIVE_GATE
    return _OFFSET + 10 * math.log10(total[(levels > ABSOLUTE_GATE) & (levels > gate)].mean())


def k_weighting(rate: int) -> NDArray[np.float64]:
    """Return the K-weighting filter as two second-order sections [2, 6]: the head's shelf, then the high pass."""
    frequency, gain, q = _SHELF
    k = math.tan(math.pi * frequency / rate)
    high = 10 ** (gain / 20)
    band = high**0.4996667741545416
    shelf = np.array(
        [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k,
         1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k]
    )  # fmt: skip
    frequency, q = _HIGH_PASS
    k = math.tan(math.pi * frequency / rate)
    denominator = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    return np.array([shelf / shelf[3], [1, -2, 1, *denominator / denominator[0]]])
