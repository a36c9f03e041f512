"""Tensors that never change, made once for each size and device: a step that made them anew would spend its time so."""

from functools import lru_cache

import torch


@lru_cache(maxsize=512)
def counting(count: int, device: torch.device) -> torch.Tensor:
    """0, 1, …, count - 1; to be read only."""
    return torch.arange(count, device=device)
