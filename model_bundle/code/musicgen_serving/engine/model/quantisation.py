"""Weight matrices in floating point or in 8 bits (LLM.int8(), Dettmers et al. 2022), and their product."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

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


class PackedMatrix(ABC):
    """A weight [out, in] in the layout of a CPU's kernel; `cpu_matrices` has the kinds."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.shape = weight.shape

    @abstractmethod
    def product(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [rows, in] times the weight, [rows, out]; a row is rounded the same whatever its neighbours."""


Matrix = torch.Tensor | Quantised | PackedMatrix
Pack = Callable[[torch.Tensor], Matrix]
"""Turn a weight [out, in] into what is multiplied."""


MatrixName = Literal["qkv", "self_out", "cross_q", "cross_kv", "cross_out", "ffn_in", "ffn_out", "heads"]
"""A field of LayerWeights or DecoderWeights."""


@dataclass(frozen=True)
class Packing:
    """How the decoder's matrices are multiplied: all alike, except those named."""

    most: Pack
    exceptions: Mapping[MatrixName, Pack] = field(default_factory=dict[MatrixName, Pack])

    def pack(self, name: MatrixName, weight: torch.Tensor) -> Matrix:
        return self.exceptions.get(name, self.most)(weight)


def keep(weight: torch.Tensor) -> torch.Tensor:
    """Return the weight, to be multiplied as it was read."""
    return weight


UNPACKED = Packing(keep)


def row_scales(weight: torch.Tensor) -> torch.Tensor:
    """Return the distance of two levels in each row of a weight, [out]."""
    largest = weight.abs().amax(dim=1).float()
    return torch.where(largest > 0, largest / MAX_LEVEL, 1)


def quantise(weight: torch.Tensor) -> Quantised:
    """Round a weight [out, in] to the nearest of 255 levels, evenly spaced up to each row's largest magnitude."""
    scale = row_scales(weight)
    return Quantised((weight.float() / scale[:, None]).round_().to(torch.int8), scale)


EIGHT_BIT = Packing(quantise, {"cross_kv": keep, "heads": keep})
"""LLM.int8() on a GPU: what not every layer reads in every step stays as it is."""


def dense(weight: Matrix) -> torch.Tensor:
    """Return a weight in float32; raise TypeError if it is packed for a CPU."""
    values, scale = values_and_scale(weight)
    return values.float() if scale is None else values.float() * scale[:, None]


def values_and_scale(weight: Matrix) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a weight's values [out, in] and, in 8 bits, scales [out]; raise TypeError if it is packed for a CPU."""
    if isinstance(weight, PackedMatrix):
        raise TypeError(f"a weight must not be packed for a CPU here, got {type(weight).__name__}")
    return (weight.values, weight.scale) if isinstance(weight, Quantised) else (weight, None)


def linear(x: torch.Tensor, weight: Matrix) -> torch.Tensor:
    """Multiply x [rows, in] by weight [out, in]; the result [rows, out] need not be contiguous.

    On a CPU the weight is the first factor where possible. BLAS then rounds a row the same whatever its neighbours,
    and from four rows on it is faster: 24 products of 16 rows with [4096, 1024] took 54 ms instead of 83 on one thread
    of a Xeon with torch 2.13. With two rows, one clip alone, it is slower (55 ms against 31), so there a large weight
    is the second factor, and a large model rounds a clip generated alone differently than one in a batch.
    """
    if isinstance(weight, PackedMatrix):
        return weight.product(x)
    if isinstance(weight, Quantised):
        return linear(x, dense(weight).to(x.dtype))  # scaled before summation: half precision ends at 65,504
    if x.device.type == "cpu" and (x.shape[0] >= FEW_ROWS or weight.numel() < SMALL_WEIGHT):
        return torch.mm(weight, x.t()).t()
    return functional.linear(x, weight)
