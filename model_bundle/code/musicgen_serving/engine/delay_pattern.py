"""The delay pattern (MusicGen, section 2.2) as a buffer of tokens by position, so that the loop need not know of it.

Position p of codebook k holds frame p - 1 - delay[k]; position 0, and what is before a codebook's first frame or after
its last, holds the pad token. A frame that is still to be generated holds `TO_GENERATE`.
"""

import torch

from musicgen_serving.engine.constants import column

TO_GENERATE = -1


def steps(frames: int, delays: tuple[int, ...]) -> int:
    """How many positions must be fed until every codebook has its last frame."""
    return frames + max(delays)


def lay_out(
    frames: int,
    positions: int,
    delays: tuple[int, ...],
    pad_token: int,
    prompt: torch.Tensor | None,
    device: torch.device,
) -> torch.Tensor:
    """The buffer [K, positions + 1] for a clip of `frames`, its first ones given by `prompt` [K, n] if there is one."""
    delay = column(delays, device)  # [K, 1]
    frame = torch.arange(positions + 1, device=device)[None] - 1 - delay  # [K, positions + 1]
    buffer = torch.where((frame >= 0) & (frame < frames), TO_GENERATE, pad_token)
    if prompt is None:
        return buffer
    given = prompt.to(device).gather(1, frame.clamp(0, prompt.shape[1] - 1))
    return torch.where((frame >= 0) & (frame < prompt.shape[1]), given, buffer)


def codes(buffer: torch.Tensor, frames: int, delays: tuple[int, ...]) -> torch.Tensor:
    """The frames [K, frames] of a finished buffer [K, positions + 1]."""
    return torch.stack([row[1 + delay : 1 + delay + frames] for row, delay in zip(buffer, delays, strict=True)])
