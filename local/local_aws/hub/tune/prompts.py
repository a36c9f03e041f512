"""What the toy model understands of a prompt: a few words for key, mode, tempo and drums.

Its tokenizer drops every other word.
"""

import random
import re
import unicodedata
from dataclasses import dataclass

from local_aws.hub.tune.music import KEYS, Tune

MEANINGS = {
    "G": ("g",),
    "D": ("d",),
    "major": ("major", "happy", "bright", "cheerful", "joyful", "sunny", "uplifting"),
    "minor": ("minor", "sad", "dark", "gloomy", "melancholic", "moody", "mournful"),
    "fast": ("fast", "quick", "energetic", "lively", "driving", "upbeat"),
    "medium": ("medium", "moderate", "walking"),
    "slow": ("slow", "calm", "gentle", "relaxed", "sleepy", "lullaby"),
    "drums": ("drums", "drum", "beat", "beats", "percussion", "rock", "dance"),
}
WORDS = tuple(sorted({word for words in MEANINGS.values() for word in words}))


@dataclass(frozen=True)
class Asked:
    """What a prompt asks for; None where it says nothing, or two things at once."""

    key: str | None
    mode: str | None
    tempo: str | None
    drums: bool

    def __str__(self) -> str:
        asked = [self.key, self.mode, self.tempo, "drums" if self.drums else None]
        return ", ".join(word for word in asked if word) or "nothing that the toy model understands"


def understand(prompt: str) -> Asked:
    """Return what a prompt asks for, whatever its case and punctuation."""
    words = set(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", prompt).lower()))

    def one_of(*meanings: str) -> str | None:
        named = [meaning for meaning in meanings if words.intersection(MEANINGS[meaning])]
        return named[0] if len(named) == 1 else None

    tempo = one_of("fast", "medium", "slow")
    return Asked(one_of(*KEYS), one_of("major", "minor"), tempo, bool(words.intersection(MEANINGS["drums"])))


def draw_prompt(tune: Tune, rng: random.Random) -> str:
    """Return a prompt for `tune` that names most of it, in any order, sometimes twice; drums are always named."""
    named = [meaning for meaning in (tune.key, tune.mode, tune.tempo) if rng.random() < 0.85]
    if tune.drums:
        named.append("drums")
    words = [word for meaning in named for word in rng.choices(MEANINGS[meaning], k=rng.choice((1, 1, 1, 2)))]
    rng.shuffle(words)
    return " ".join(words)
