"""Hear which pitch class a clip of the toy melody model plays, by an FFT of each 20 ms frame."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from local_aws.hub.melody.music import NOTES
from local_aws.hub.tune.music import FRAME, SAMPLING_RATE

_BINS = [note * FRAME // SAMPLING_RATE for note in NOTES]
_AUDIBLE = 0.02  # amplitude; the quietest level of a note has 0.1
_EDGE = 0.25  # of a note at either end: the chroma says when it begins to within 64 ms only

_MAX_LATE = 0.5  # seconds


class Note(NamedTuple):
    """A note of a melody: its pitch class, 0 for C, and its length."""

    pitch: int
    seconds: float


def pitch_classes(samples: NDArray[Any], rate: int) -> NDArray[np.int64]:
    """Return the loudest pitch class of each frame of one channel [n], -1 for silence."""
    if rate != SAMPLING_RATE:
        raise ValueError(f"the sampling rate must be {SAMPLING_RATE}, got {rate}")
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    loudness = np.abs(np.fft.rfft(frames))[:, _BINS] / (FRAME / 2)  # [frames, 12], amplitudes
    return np.where(loudness.max(1) > _AUDIBLE, loudness.argmax(1), -1)


def notes_right(classes: NDArray[np.int64], melody: Sequence[Note]) -> list[bool]:
    """Return whether each note of a melody is what is heard in most of its middle half; no more than the clip has."""
    right: list[bool] = []
    begin = 0.0
    for note in melody:
        end = begin + note.seconds
        edge = _EDGE * note.seconds
        first, last = (round(at * SAMPLING_RATE / FRAME) for at in (begin + edge, end - edge))
        if last > len(classes):
            break
        right.append(float((classes[first:last] == note.pitch).mean()) > 0.5)
        begin = end
    return right


def lateness(classes: NDArray[np.int64], melody: Sequence[Note]) -> float:
    """Return how many seconds later, up to half of one, than the melody a clip agrees with it in the most frames."""
    ends = np.cumsum([note.seconds for note in melody])
    middles = (np.arange(len(classes)) + 0.5) * FRAME / SAMPLING_RATE
    places = np.minimum(np.searchsorted(ends, middles), len(ends) - 1)
    written = np.array([note.pitch for note in melody])[places]
    most = round(_MAX_LATE * SAMPLING_RATE / FRAME)
    inner = slice(most, len(classes) - most)
    shifts = range(-most, most + 1)
    best = max(shifts, key=lambda late: (np.roll(classes, -late)[inner] == written[inner]).sum())
    return best * FRAME / SAMPLING_RATE
