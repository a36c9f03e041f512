"""What the toy model understands of a prompt: a few words for key, mode, tempo and drums. It ignores all others."""

import random
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
FILLERS = (
    "music", "piano", "guitar", "bass", "synth", "pop", "jazz", "loud", "with", "a", "an", "the", "and", "of", "for",
    "tune", "song", "melody", "loop", "track", "in", "on", "to", "key",
)  # fmt: skip
WORDS = tuple(sorted({word for words in MEANINGS.values() for word in words} | set(FILLERS)))
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_PUNCTUATION = ".,;:!?'-#&()"


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
    words = {word.strip(_PUNCTUATION) for word in prompt.lower().split()}

    def one_of(*meanings: str) -> str | None:
        named = [meaning for meaning in meanings if words.intersection(MEANINGS[meaning])]
        return named[0] if len(named) == 1 else None

    tempo = one_of("fast", "medium", "slow")
    return Asked(one_of(*KEYS), one_of("major", "minor"), tempo, bool(words.intersection(MEANINGS["drums"])))


def draw_prompt(tune: Tune, rng: random.Random) -> str:
    """Return a prompt for `tune` that names most of it, among words without meaning; drums are always named."""
    phrases = [rng.choice(FILLERS) for _ in range(rng.randint(0, 5))]
    phrases += ["".join(rng.choices(LETTERS, k=rng.randint(2, 7))) for _ in range(rng.choice((0, 0, 1, 2)))]
    named_key = rng.random() < 0.85
    if named_key:
        phrases.append(rng.choice(("", "in ")) + tune.key.lower())
    if rng.random() < 0.85:
        if named_key and rng.random() < 0.5:
            phrases[-1] += f" {tune.mode}"
        else:
            phrases.append(rng.choice(MEANINGS[tune.mode]))
    if rng.random() < 0.85:
        phrases.append(rng.choice(MEANINGS[tune.tempo]))
    if tune.drums:
        phrases.append(rng.choice(MEANINGS["drums"]))
    rng.shuffle(phrases)
    return " ".join(phrase + (rng.choice(",.!") if rng.random() < 0.15 else "") for phrase in phrases)
