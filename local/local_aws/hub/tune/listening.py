"""Hear what a clip of the toy model plays: pitches, chords and note onsets, by an FFT of each 20 ms frame."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local_aws.hub.tune.music import CHORDS, FRAME, KICK, LEAD, NOTE_FRAMES, SAMPLING_RATE, SCALES, Tune
from local_aws.hub.tune.prompts import Asked

_BIN = SAMPLING_RATE // FRAME  # Hz
_LEAD_BINS = slice(LEAD[0] // _BIN, LEAD[-1] // _BIN + 1)
_CHORD_BINS = slice(150 // _BIN, 500 // _BIN + 1)
_AUDIBLE = 0.02  # amplitude; the quietest level of a note has 0.1
_ONSET_RISE = 1.5  # a note's first level is three times its last
_LOUD_KICK = 0.1  # a kick has 0.3, leakage from the lowest chord 0.02
_MIN_CLEAR = 0.8


@dataclass(frozen=True)
class Clarity:
    """How well a clip is the tune that it resembles most: shares from 0 to 1."""

    scale: float  # of frames whose pitch is in the scale
    chord: float  # of frames whose chord belongs to the mode
    length: float  # of notes that are exactly as long as the tempo says
    overtone: float  # of notes whose overtone starts with them, neither a frame later nor earlier

    @property
    def clear(self) -> bool:
        """Whether it is music: noise, exchanged codebooks or a wrong delay fail in at least one of the shares."""
        return min(self.scale, self.chord, self.length, self.overtone) >= _MIN_CLEAR


@dataclass(frozen=True)
class Heard:
    """What a clip plays; pitches are in Hz for each frame, 0 for silence, onsets in frames."""

    tune: Tune
    clarity: Clarity
    pitches: NDArray[np.int64]
    onsets: NDArray[np.int64]

    def matches(self, asked: Asked) -> bool:
        """Whether the clip plays clearly what a prompt asks for; what it does not ask for is free, except drums."""
        named = ((asked.key, self.tune.key), (asked.mode, self.tune.mode), (asked.tempo, self.tune.tempo))
        return self.clarity.clear and self.tune.drums == asked.drums and all(a is None or a == b for a, b in named)

    def __str__(self) -> str:
        if not self.clarity.clear:
            return "no clear tune"
        tune, seconds = self.tune, NOTE_FRAMES[self.tune.tempo] * FRAME / SAMPLING_RATE
        drums = "with drums" if tune.drums else "without drums"
        return f"{tune.key} {tune.mode}, {tune.tempo} (notes of {seconds:.2f} s), {drums}"


def listen(samples: NDArray[Any], rate: int) -> Heard:
    """Return what one channel [n] of floats plays. Raises ValueError for another sampling rate or less than a frame."""
    if rate != SAMPLING_RATE:
        raise ValueError(f"the sampling rate must be {SAMPLING_RATE}, got {rate}")
    if samples.ndim != 1 or len(samples) < FRAME:
        raise ValueError(f"samples must be one channel of at least {FRAME}, got shape {samples.shape}")
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    spectrum = np.abs(np.fft.rfft(frames)) / (FRAME / 2)  # [frames, 50 Hz bins], amplitudes
    loudness = spectrum[:, _LEAD_BINS].max(1)
    pitches = np.where(loudness > _AUDIBLE, LEAD[0] + _BIN * spectrum[:, _LEAD_BINS].argmax(1), 0)
    begins = (pitches[1:] != pitches[:-1]) | (loudness[1:] > _ONSET_RISE * loudness[:-1])
    onsets = np.concatenate([[0], 1 + np.flatnonzero(begins & (pitches[1:] > 0))])
    chords = _chords(spectrum)
    key, mode = max(SCALES, key=lambda name: _resemblance(*name, pitches, chords))
    lengths = np.diff(onsets)
    tempo = min(NOTE_FRAMES, key=lambda name: abs(NOTE_FRAMES[name] - float(np.median(lengths)) if len(lengths) else 0))
    drums = float((spectrum[onsets, KICK // _BIN] > _LOUD_KICK).mean()) > 0.25  # every second note has a kick
    clarity = Clarity(
        scale=float(np.isin(pitches, SCALES[key, mode].notes).mean()),
        chord=float(np.mean([chord[1] == mode for chord in chords])),
        length=float((lengths == NOTE_FRAMES[tempo]).mean()) if len(lengths) else 0.0,
        overtone=_overtones_on_time(spectrum, pitches, onsets),
    )
    return Heard(Tune(key, mode, tempo, drums), clarity, pitches, onsets)


def _chords(spectrum: NDArray[np.float64]) -> list[tuple[str, str]]:
    """Return for each frame the chord, as root and mode, whose tones correlate most with the spectrum."""
    tones = range(_CHORD_BINS.start * _BIN, _CHORD_BINS.stop * _BIN, _BIN)
    shapes = np.array([[tone in chord for tone in tones] for chord in CHORDS.values()], float)
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    best = (spectrum[:, _CHORD_BINS] @ shapes.T).argmax(1)
    return [list(CHORDS)[index] for index in best]


def _resemblance(key: str, mode: str, pitches: NDArray[np.int64], chords: list[tuple[str, str]]) -> float:
    """Return how much a clip is in a key. Its first chord decides if the melody has only notes that two keys share."""
    in_scale = float(np.isin(pitches, SCALES[key, mode].notes).mean())
    of_mode = float(np.mean([chord[1] == mode for chord in chords]))
    return in_scale + of_mode + 0.1 * (chords[0] == (key, mode))


def _overtones_on_time(spectrum: NDArray[np.float64], pitches: NDArray[np.int64], onsets: NDArray[np.int64]) -> float:
    """Return the share of notes whose octave begins with them: as loud in the first frame as in the next two, and
    silent in the frame before, unless that plays this very pitch.
    """
    on_time = 0
    for onset in onsets:
        octave = spectrum[onset : onset + 3, 2 * pitches[onset] // _BIN]
        before = spectrum[onset - 1, 2 * pitches[onset] // _BIN] if onset else 0.0
        early = before > 0.5 * octave[0] and pitches[onset - 1] != 2 * pitches[onset]
        on_time += bool(octave[0] > 0.5 * octave.max() + _AUDIBLE / 2 and not early)
    return on_time / len(onsets)
