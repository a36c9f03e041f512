"""The delay pattern (MusicGen, section 2.2) laid out in a buffer of tokens by position, so that steps can ignore it.

Position p of codebook k holds frame p - 1 - delay[k]. Position 0, and any position before a codebook's first frame or
after its last, holds the pad token. A frame that is yet to be generated holds `TO_GENERATE`.
"""

from functools import cache

import torch

TO_GENERATE = -1


def steps(frames: int, delays: tuple[int, ...]) -> int:
    """Return how many positions must be fed until every codebook has its last frame."""
    return frames + max(delays)


@cache
def _column(delays: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Return delays as [K, 1], read-only: copying them to a device would wait for it."""
    return torch.tensor(delays, device=device)[:, None]


def lay_out(
    frames: int, positions: int, delays: tuple[int, ...], pad_token: int, prompt: torch.Tensor | None,
    device: torch.device,
) -> torch.Tensor:  # fmt: skip
    """Return the buffer [K, positions + 1] for a clip of `frames`, of which `prompt` [K, n] gives the first."""
    frame = torch.arange(positions + 1, device=device)[None] - 1 - _column(delays, device)  # [K, positions + 1]
    buffer = torch.where((frame >= 0) & (frame < frames), TO_GENERATE, pad_token)
    if prompt is None:
        return buffer
    given = prompt.to(device).gather(1, frame.clamp(0, prompt.shape[1] - 1))
    return torch.where((frame >= 0) & (frame < prompt.shape[1]), given, buffer)


def codes(buffer: torch.Tensor, frames: int, delays: tuple[int, ...]) -> torch.Tensor:
    """Return the frames [K, frames] of a finished buffer [K, positions + 1]."""
    return torch.stack([row[1 + delay : 1 + delay + frames] for row, delay in zip(buffer, delays, strict=True)])
