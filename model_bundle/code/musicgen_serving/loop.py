"""Loops: clips of a whole number of bars whose end leads into their start."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from musicgen_serving.engine.sampling_params import FRAMES_PER_SECOND

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BEATS_PER_BAR = 4
JOIN_SECONDS = 0.1  # as much more is generated, and blended into the start


@dataclass(frozen=True)
class Loop:
    """A loop's tempo, in beats per minute, and its length in bars of four beats."""

    bpm: float
    bars: int

    @property
    def seconds(self) -> float:
        """The exact length."""
        return self.bars * BEATS_PER_BAR * 60 / self.bpm

    @property
    def frames(self) -> int:
        """EnCodec frames to generate: the loop, rounded up, and what is blended into its start."""
        return -int(-(self.seconds + JOIN_SECONDS) * FRAMES_PER_SECOND // 1)

    def text(self, text: str) -> str:
        """Return a text with the tempo, unless it names one: the model hears of it only there."""
        return text if "bpm" in text.lower() else f"{text}, {self.bpm:g} bpm"

    def close(self, samples: "NDArray[np.float32]", rate: int) -> "NDArray[np.float32]":
        """Return [channels, samples] cut to the loop's length, its start blended with what follows its end.

        The first sample is the one that followed the last, so that repeating the loop makes no jump. From there the
        start fades in with constant power, as what follows the end and the start are different music.
        """
        import numpy as np  # multi-model-server's supervisor forks after importing this module

        length, join = round(self.seconds * rate), round(JOIN_SECONDS * rate)
        angle = (np.arange(join, dtype=np.float32) / join) * (np.pi / 2)
        closed = samples[:, :length].copy()
        join = min(join, length, samples.shape[1] - length)
        closed[:, :join] = samples[:, length : length + join] * np.cos(angle[:join]) + closed[:, :join] * np.sin(
            angle[:join]
        )
        return closed
