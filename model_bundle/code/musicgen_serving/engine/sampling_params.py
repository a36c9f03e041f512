"""What to generate and how to sample it. Imports no torch, so request parsing can use it before the model loads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAMES_PER_SECOND = 50
# The delay pattern shifts the last codebook by codebooks / channels - 1 steps, so as many steps complete no frame.
# Requests are validated before a model is loaded; `decoder_config` refuses a model for which this is another number.
DELAY_TOKENS = 3
MAX_NEW_TOKENS = 1503
# Sampling is in float32: far below these, scaled logits overflow or no token is left, and wrong tokens are drawn.
MIN_TEMPERATURE = 1e-3
MIN_TOP_P = 1e-6


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How a clip is sampled."""

    max_new_tokens: int = 256
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
class ClipSpec:
    """One clip to generate.

    Without a text, `guidance_scale` has no effect. With a negative prompt, guidance leads away from that text instead
    of from what the model generates without one. `melody` are the samples [channels, n], at the model's rate, of the
    melody that the clip follows: of melody models only, repeated to fill the clip.
    """

    text: str | None
    seed: int
    params: SamplingParams
    negative_prompt: str | None = None
    melody: NDArray[np.float32] | None = None
