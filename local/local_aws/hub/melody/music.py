"""What the toy melody model whistles: a note for each run of equal chroma frames, and the codes that stand for it.

As in `tune.music`, every tone is a multiple of 50 Hz. The twelve notes are those of one octave, at most 37 cents from
the piano's, so that the chroma of a clip shows the notes that it plays.
"""

import random

import numpy as np
from numpy.typing import NDArray

from local_aws.hub.tune.music import CODEBOOKS, FRAME, TICK

NOTES = (1050, 1100, 1200, 1250, 1300, 1400, 1500, 1550, 1650, 1750, 1850, 2000)  # Hz, from C to B
CHROMA_FRAMES = 235  # 30 s, as the published melody models have
CHROMA_HOP = 4096  # samples from one chroma frame to the next: 6.4 frames of codes
LEVELS = (1.0, 0.8, 0.64, 0.5, 0.4, 0.32)  # a note passes through them and stays at the last
HOLD = 4  # frames for each level
OVERTONE_LEVELS = 3  # the octave above a note, codebook 3, sounds at the first levels only
TICK_LEVELS = (0.1, 0.05)  # of a note's first two frames, codebook 1
CLOCK = 24  # codebook 2 has as many silent codes: they count the frames since a note began, and then stop
NOTE_VOLUME, OVERTONE_VOLUME = 0.3, 0.1
RUN_FRAMES = (
    1,
    2,
    2,
    3,
    3,
    4,
    4,
    5,
    6,
    8,
    12,
)  # chroma frames of a drawn note; a short one may be a glitch of the chroma

TONES = tuple(sorted({*NOTES, *(2 * note for note in NOTES), *TICK}))


def codebook_entries() -> list[list[dict[int, float]]]:
    """Return the amplitude of each tone in each code, for every codebook; codes beyond a list's end are silent."""
    notes = [{note: NOTE_VOLUME * level} for note in NOTES for level in LEVELS]
    ticks = [dict.fromkeys(TICK, level) for level in TICK_LEVELS]
    overtones = [{2 * note: OVERTONE_VOLUME * level} for note in NOTES for level in LEVELS[:OVERTONE_LEVELS]]
    silence: dict[int, float] = {}
    return [[silence, *notes], [silence, *ticks], [silence] * CLOCK, [silence, *overtones]]


def draw_chroma(rng: random.Random) -> NDArray[np.int64]:
    """Return the pitch classes [CHROMA_FRAMES] of random notes, of random lengths."""
    classes: list[int] = []
    while len(classes) < CHROMA_FRAMES:
        note = rng.choice([one for one in range(len(NOTES)) if one not in classes[-1:]])
        classes += [note] * rng.choice(RUN_FRAMES)
    return np.array(classes[:CHROMA_FRAMES])


def codes_of(classes: NDArray[np.int64], frames: int) -> NDArray[np.int64]:
    """Return the codes [4, frames] that play pitch classes [T], one for each chroma frame.

    A chroma frame is centred on its sample, so a frame of codes plays the chroma frame that is nearest to its middle.
    """
    middles = (np.arange(frames) + 0.5) * FRAME / CHROMA_HOP
    notes = classes[np.minimum(np.floor(middles + 0.5).astype(np.int64), len(classes) - 1)]
    begins = np.concatenate([[True], notes[1:] != notes[:-1]])
    place = np.arange(frames)
    age = place - np.maximum.accumulate(np.where(begins, place, 0))
    level = np.minimum(age // HOLD, len(LEVELS) - 1)
    codes = np.zeros((CODEBOOKS, frames), np.int64)
    codes[0] = 1 + notes * len(LEVELS) + level
    codes[1] = np.where(age < len(TICK_LEVELS), 1 + age, 0)
    codes[2] = np.minimum(age, CLOCK - 1)
    codes[3] = np.where(level < OVERTONE_LEVELS, 1 + notes * OVERTONE_LEVELS + level, 0)
    return codes
