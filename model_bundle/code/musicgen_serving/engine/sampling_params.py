"""What to generate and how to sample it. Imports no torch, so request parsing can use it before the model loads."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAMES_PER_SECOND = 50
# The delay pattern shifts the last codebook by codebooks / channels - 1 steps, so as many steps complete no frame.
# Requests are validated before a model is loaded; `decoder_config` refuses a model for which this is another number.
DELAY_TOKENS = 3
MAX_NEW_TOKENS = 1503  # of a window, the longest run of the decoder; a longer clip has several (windows.py)
MAX_WINDOW_FRAMES = MAX_NEW_TOKENS - DELAY_TOKENS
MAX_TEXT_TOKENS = 512  # of a prompt
# Sampling is in float32: far below these, scaled logits overflow or no token is left, and wrong tokens are drawn.
MIN_TEMPERATURE = 1e-3
MIN_TOP_P = 1e-6


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How long a clip is, and how it is sampled."""

    max_new_tokens: int = 256
    stride: int = 900  # frames that each window after the first adds; it continues the last 1500 - stride
    guidance_scale: float = 3.0
    do_sample: bool = True
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 1.0

    @property
    def frames(self) -> int:
        """EnCodec frames of the clip, 50 per second."""
        return self.max_new_tokens - DELAY_TOKENS


@dataclass(frozen=True)
class Section:
    """A part of a clip that has a text of its own."""

    text: str | None
    frames: int


@dataclass(frozen=True)
class ClipSpec:
    """One clip to generate: of `params.frames` under one text, or in sections, whose lengths and texts then count.

    Without a text, `guidance_scale` has no effect. With a negative prompt, guidance leads away from that text instead
    of from what the model generates without one. `prompt` are samples [channels, n] at the model's rate that the clip
    continues; `params` count what is new. The clip starts with them, as the codec renders them, if `return_prompt`.
    `melody` are those of the melody that the clip follows from its start: of melody models only, repeated to fill it.
    """

    text: str | None
    seed: int
    params: SamplingParams
    negative_prompt: str | None = None
    sections: tuple[Section, ...] = ()
    prompt: "NDArray[np.float32] | None" = field(default=None, compare=False, repr=False)
    return_prompt: bool = True
    melody: "NDArray[np.float32] | None" = field(default=None, compare=False, repr=False)

    @property
    def parts(self) -> tuple[Section, ...]:
        """The clip's sections; one without has one."""
        return self.sections or (Section(self.text, self.params.frames),)

    @property
    def frames(self) -> int:
        """EnCodec frames that are generated, 50 per second."""
        return sum(part.frames for part in self.parts)
