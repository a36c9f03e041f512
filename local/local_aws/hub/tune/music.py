"""The tunes that the toy model plays: their notes, the codes that stand for them, and one drawn at random.

Every tone is a multiple of 50 Hz, so that it completes whole periods in a frame of 20 ms and an FFT of one frame
separates them all. That makes the tuning just: each interval is within a third of a semitone of the piano's, and A is
450 Hz.
"""

import random
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLING_RATE = 32_000
FRAME = 640  # samples: 20 ms
CODEBOOKS = 4
BEATS = 4  # notes to a bar, which has one chord


class Scale(NamedTuple):
    """A scale's notes in Hz, the place of its third, and the places where a bar on either of its chords may start."""

    notes: tuple[int, ...]
    third: int  # the home chord's; every tune starts with it, and no two scales have the same
    home: tuple[int, ...]
    away: tuple[int, ...]


SCALES = {
    ("G", "major"): Scale((800, 900, 1000, 1200, 1350, 1600), 2, (0, 2, 3, 5), (1, 3)),
    ("G", "minor"): Scale((800, 950, 1050, 1200, 1400, 1600), 1, (0, 1, 3, 5), (3, 4)),
    ("D", "major"): Scale((600, 750, 800, 900, 1000, 1200), 1, (0, 1, 3, 5), (2, 4)),
    ("D", "minor"): Scale((600, 700, 800, 900, 1050, 1200), 1, (0, 1, 3, 5), (2, 5)),
}
KEYS, MODES = ("G", "D"), ("major", "minor")
CHORDS = {
    ("G", "major"): (200, 400, 500),
    ("D", "major"): (150, 300, 450),
    ("G", "minor"): (200, 300, 400),
    ("D", "minor"): (150, 350, 450),
}  # both of a mode's chords occur in both of its keys; the key's own is home
LEAD = tuple(sorted({note for scale in SCALES.values() for note in scale.notes}))
KICK, TICK = 100, (3500, 3650)

DECAY = (1.0, 0.8, 0.64, 0.5, 0.4, 0.32)  # a note passes through all six levels, each for HOLD frames
HOLD = {"fast": 1, "medium": 2, "slow": 4}
NOTE_FRAMES = {tempo: hold * len(DECAY) for tempo, hold in HOLD.items()}  # 120, 240 and 480 ms
# Codebook 0 has a code for the first level of each tempo, which sound alike. With the third, a tune's first code thus
# decides key, mode and tempo at once, so that guidance weighs them as one choice instead of three weak ones.
LEAD_LEVELS = (*(DECAY[0] for _ in HOLD), *DECAY[1:])
OVERTONE_LEVELS = 3  # the octave above a note, codebook 3, sounds at the first levels only
CLOCK = max(NOTE_FRAMES.values())  # codebook 2 has as many silent codes: they count the frames since a note began
KICK_LEVELS, TICK_LEVELS = (0.3, 0.2, 0.1), (0.05, 0.02)  # a frame each
CHORD_LEVELS = (1.0, 0.85, 0.7, 0.55)  # one for each beat
LEAD_VOLUME, CHORD_VOLUME, OVERTONE_VOLUME = 0.3, 0.08, 0.1

TONES = tuple(sorted({*LEAD, *(2 * note for note in LEAD), *(t for c in CHORDS.values() for t in c), KICK, *TICK}))


@dataclass(frozen=True)
class Tune:
    """What a tune is like."""

    key: str
    mode: str
    tempo: str
    drums: bool

    @property
    def scale(self) -> Scale:
        return SCALES[self.key, self.mode]


def codebook_entries() -> list[list[dict[int, float]]]:
    """Return the amplitude of each tone in each code, for every codebook; codes beyond a list's end are silent."""
    lead = [{note: LEAD_VOLUME * level} for note in LEAD for level in LEAD_LEVELS]
    chords = [dict.fromkeys(chord, CHORD_VOLUME * level) for chord in CHORDS.values() for level in CHORD_LEVELS]
    hits = [{KICK: level} for level in KICK_LEVELS] + [dict.fromkeys(TICK, level) for level in TICK_LEVELS]
    overtones = [{2 * note: OVERTONE_VOLUME * level} for note in LEAD for level in DECAY[:OVERTONE_LEVELS]]
    silence: dict[int, float] = {}
    return [[silence, *lead], [silence, *chords], [silence] * CLOCK + hits, [silence, *overtones]]


def draw_tune(rng: random.Random) -> Tune:
    return Tune(rng.choice(KEYS), rng.choice(MODES), rng.choice(tuple(HOLD)), rng.random() < 0.4)


def draw_codes(tune: Tune, frames: int, rng: random.Random) -> NDArray[np.int64]:
    """Return the codes [4, frames] of a melody: bars of four notes, each starting on a note of its chord."""
    length = NOTE_FRAMES[tune.tempo]
    codes = np.zeros((CODEBOOKS, frames + length), np.int64)
    levels = np.arange(length) // HOLD[tune.tempo]
    at_home, place = True, 0
    for count, start in enumerate(range(0, frames, length)):
        beat, span = count % BEATS, slice(start, start + length)
        if beat == 0:
            at_home = start == 0 or not at_home or rng.random() < 0.25
            places = (tune.scale.third,) if start == 0 else tune.scale.home if at_home else tune.scale.away
            place = rng.choice(places)
        else:
            place = min(len(tune.scale.notes) - 1, max(0, place + rng.choice((-2, -1, -1, -1, 0, 1, 1, 1, 2))))
        note = LEAD.index(tune.scale.notes[place])
        root = tune.key if at_home else KEYS[1 - KEYS.index(tune.key)]
        first, later = list(HOLD).index(tune.tempo), len(HOLD) - 1 + levels
        codes[0, span] = 1 + note * len(LEAD_LEVELS) + np.where(levels == 0, first, later)
        codes[1, span] = 1 + list(CHORDS).index((root, tune.mode)) * BEATS + beat
        codes[2, span] = np.arange(length)
        if tune.drums:
            hit, frames_hit = (0, len(KICK_LEVELS)) if beat % 2 == 0 else (len(KICK_LEVELS), len(TICK_LEVELS))
            codes[2, start : start + frames_hit] = CLOCK + hit + np.arange(frames_hit)
        codes[3, span] = np.where(levels < OVERTONE_LEVELS, 1 + note * OVERTONE_LEVELS + levels, 0)
    return codes[:, :frames]
