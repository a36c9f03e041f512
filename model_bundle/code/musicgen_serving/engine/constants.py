"""Tensors that never change, made once for each size and device: a step that made them anew would spend its time so.

They are kept for good, a few kilobytes each: a CUDA graph that read one knows its address.
"""

from functools import cache

import torch


@cache
def counting(count: int, device: torch.device) -> torch.Tensor:
    """0, 1, …, count - 1; to be read only."""
    return torch.arange(count, device=device)


@cache
def column(numbers: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Some numbers as [n, 1]; to be read only."""
    return torch.tensor(numbers, device=device)[:, None]
