"""Weight matrices in floating point or in 8 bits (LLM.int8(), Dettmers et al. 2022), and their product."""

from dataclasses import dataclass

import torch
from torch.nn import functional

MAX_LEVEL = 127  # symmetric: -128 is not used
FEW_ROWS = 4
SMALL_WEIGHT = 2**20  # elements; a smaller weight stays in the cache, where the order of factors costs nothing


@dataclass(frozen=True)
class Quantised:
    """A weight [out, in] as integers with one scale for each output."""

    values: torch.Tensor  # [out, in], int8
    scale: torch.Tensor  # [out], float32

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    def dense(self) -> torch.Tensor:
        return self.values.float() * self.scale[:, None]


Matrix = torch.Tensor | Quantised


def quantise(weight: torch.Tensor) -> Quantised:
    """Round a weight [out, in] to the nearest of 255 levels, evenly spaced up to each row's largest magnitude."""
    largest = weight.abs().amax(dim=1).float()
    scale = torch.where(largest > 0, largest / MAX_LEVEL, 1)
    return Quantised((weight.float() / scale[:, None]).round_().to(torch.int8), scale)


def dense(weight: Matrix) -> torch.Tensor:
    return weight.dense() if isinstance(weight, Quantised) else weight.float()


def linear(x: torch.Tensor, weight: Matrix) -> torch.Tensor:
    """Multiply x [rows, in] by weight [out, in]; the result [rows, out] need not be contiguous.

    On a CPU the weight is the first factor where possible. BLAS then rounds a row the same whatever its neighbours,
    and from four rows on it is faster: 24 products of 16 rows with [4096, 1024] took 54 ms instead of 83 on one thread
    of a Xeon with torch 2.13. With two rows, one clip alone, it is slower (55 ms against 31), so there a large weight
    is the second factor, and a large model rounds a clip generated alone differently than one in a batch.
    """
    if isinstance(weight, Quantised):
        return linear(x, weight.dense().to(x.dtype))  # scaled before summation: half precision ends at 65,504
    if x.device.type == "cpu" and (x.shape[0] >= FEW_ROWS or weight.numel() < SMALL_WEIGHT):
        return torch.mm(weight, x.t()).t()
    return functional.linear(x, weight)
