"""Melodies as someone might hum, whistle or play them: what the toy melody model is given to follow."""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from local_aws.hub.melody.listening import Note
from local_aws.hub.tune.music import SAMPLING_RATE

BEATS = (0.4, 0.5, 0.6, 0.75)  # seconds, of a melody's shorter notes
TIMBRES = {
    "whistle": (1.0,),
    "hum": (1.0, 0.4, 0.15),
    "string": tuple(1 / n for n in range(1, 9)),
    "reed": (1, 0, 0.4, 0, 0.2),
}
OCTAVES = (3, 4, 5)  # as pianists count: 4 has A at 440 Hz


def draw_melody(seed: int, seconds: float = 5.0) -> list[Note]:
    """Return a melody of its own tempo that moves by steps and leaps through all twelve pitch classes."""
    rng = random.Random(f"melody {seed}")
    beat, pitch, notes = rng.choice(BEATS), rng.randrange(12), list[Note]()
    while sum(note.seconds for note in notes) < seconds:
        pitch = (pitch + rng.choice((-7, -4, -3, -2, -1, 1, 2, 3, 5))) % 12
        notes.append(Note(pitch, beat * rng.choice((1, 1, 1, 2))))
    return notes


def hum(melody: Sequence[Note], seed: int) -> NDArray[np.float32]:
    """Return a melody [1, n], with the timbre, octave, vibrato, breath and loudness of performer `seed`."""
    rng = np.random.default_rng(seed)
    partials = list(TIMBRES.values())[seed % len(TIMBRES)]
    octave, depth, level = rng.choice(OCTAVES), rng.uniform(0, 0.3), rng.uniform(0.05, 0.8)  # depth in semitones
    sung = [_tone(note, octave, depth, partials) for note in melody]
    samples = np.concatenate(sung)
    samples += 0.02 * rng.standard_normal(len(samples))
    return (level * samples)[None].astype(np.float32)


def _tone(note: Note, octave: int, depth: float, partials: Sequence[float]) -> NDArray[np.float64]:
    """Return one note [n], of equal temperament, with a short rise and fall."""
    time = np.arange(round(note.seconds * SAMPLING_RATE)) / SAMPLING_RATE
    semitones = note.pitch - 9 + 12 * (octave - 4) + depth * np.sin(2 * np.pi * 5.5 * time)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** (semitones / 12)) / SAMPLING_RATE
    wave = sum((level * np.sin(n * phase) for n, level in enumerate(partials, 1)), np.zeros(len(time)))
    return wave * np.minimum(1, np.minimum(time, time[::-1]) / 0.03) / sum(partials)
