"""Process a clip [channels, samples] before it is encoded: remove a noisy tail, fade, and normalise its level."""

import math

import numpy as np
from numpy.typing import NDArray

from musicgen_serving.loudness import integrated_loudness

Samples = NDArray[np.float32]
# audiocraft's targets (audiocraft/data/audio_utils.py): decibels below full scale, and LUFS.
PEAK_DB = -1.0
RMS_DB = -18.0
LOUDNESS_LUFS = -14.0
QUIET = 2e-3  # RMS below which a clip counts as silence and keeps its level, as audiocraft's energy_floor
TAIL_SECONDS = 1.0  # at most so much is removed
MIN_NOISE_SECONDS = 0.1
CUT_FADE_SECONDS = 0.02
_FRAMES_PER_SECOND = 50  # of EnCodec; a clip is cut between two frames
_FLAT = 0.3  # spectral flatness: white noise has 0.56 in one window, a tone nearly 0
_FLATTER = 1.5  # than what the clip has before its tail


def normalize(samples: Samples, rate: int, strategy: str) -> Samples:
    """Return the clip at another level: `none`, `clip` (at -1 dBFS), `peak` (-1 dBFS), `rms` (-18 dB) or `loudness`.

    `loudness` is -14 LUFS. `rms` and `loudness` clip what exceeds full scale. Silence is returned as it is.
    """
    if strategy == "none":
        return samples
    top = _amplitude(PEAK_DB)
    if strategy == "clip":
        return samples.clip(-top, top)
    rms = math.sqrt(float(np.mean(samples.astype(np.float64) ** 2)))
    if rms < QUIET:
        return samples
    if strategy == "peak":
        return _scaled(samples, top / float(np.abs(samples).max()))
    if strategy == "rms":
        return _scaled(samples, _amplitude(RMS_DB) / rms)
    loudness = integrated_loudness(samples, rate)
    if not math.isfinite(loudness):  # inaudible: all of it below the absolute gate
        return samples
    return _scaled(samples, _amplitude(LOUDNESS_LUFS - loudness))


def fade(samples: Samples, fade_in: int, fade_out: int, start: int = 0, total: int | None = None) -> Samples:
    """Return the clip with its first and last samples faded along a raised cosine; fades that overlap multiply.

    `samples` may also be a part of a clip of `total` samples, from its sample `start` on.
    """
    end = start + samples.shape[1]
    length = end if total is None else total
    faded = samples.copy()
    if (rise := min(fade_in, length)) > start:
        faded[:, : rise - start] *= _ramp(rise)[start:end]
    fall = min(fade_out, length)
    if (begin := length - fall) < end:
        first = max(begin, start)
        faded[:, first - start :] *= _ramp(fall)[::-1][first - begin : end - begin]
    return faded


def trim_tail(samples: Samples, rate: int) -> Samples:
    """Return the clip without noise at its very end, at most a second of it, and with a short fade where it was cut.

    Noise is what has a flat spectrum: windows of 40 ms every 20 ms whose spectral flatness (the power's geometric over
    its arithmetic mean) is at least 0.3 and 1.5 times that of 95 % of the clip before its last second. Only
    a run of at least 100 ms that lasts to the end is removed, so a cymbal or a hiss that the music has throughout
    stays. Clips below 2 s are returned as they are.
    """
    hop = rate // _FRAMES_PER_SECOND
    tail = round(TAIL_SECONDS * _FRAMES_PER_SECOND)
    flatness = _flatness(samples.mean(axis=0), hop)
    if len(flatness) < 2 * tail:
        return samples
    threshold = max(_FLAT, _FLATTER * float(np.quantile(flatness[:-tail], 0.95)))
    noisy = flatness[-tail:] >= threshold
    run = tail if noisy.all() else int(np.argmin(noisy[::-1]))
    if run < MIN_NOISE_SECONDS * _FRAMES_PER_SECOND:
        return samples
    end = samples.shape[1] // hop * hop - run * hop
    return fade(samples[:, :end], 0, round(CUT_FADE_SECONDS * rate))


def _flatness(mono: NDArray[np.floating], hop: int) -> NDArray[np.float64]:
    """Return the spectral flatness of each window of two hops that begins at a hop, 0 for silent ones; [windows].

    The last window is the last full one, so there is one window less than there are hops; the last hop repeats it.
    """
    count = len(mono) // hop
    if count < 2:
        return np.zeros(count)
    windows = np.lib.stride_tricks.sliding_window_view(mono[: count * hop].astype(np.float64), 2 * hop)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(2 * hop), axis=1))[:, 1:] ** 2
    mean = power.mean(axis=1)
    silent = mean < 1e-6 * hop  # about -60 dBFS of noise
    logs = np.log(np.maximum(power, 1e-20)).mean(axis=1)
    flatness = np.where(silent, 0.0, np.exp(logs) / np.maximum(mean, 1e-20))
    return np.append(flatness, flatness[-1])


def _scaled(samples: Samples, gain: float) -> Samples:
    return (samples * np.float32(gain)).clip(-1.0, 1.0)


def _amplitude(decibels: float) -> float:
    return 10 ** (decibels / 20)


def _ramp(length: int) -> NDArray[np.float32]:
    """Return a rise from 0 over `length` samples; the next one would be 1."""
    return (0.5 - 0.5 * np.cos(np.pi * np.arange(length) / length)).astype(np.float32)
