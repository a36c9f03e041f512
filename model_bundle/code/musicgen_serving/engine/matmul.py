"""The matrix product of a step: few rows with a large weight, so that reading the weight is what takes the time.

On a CPU the weight comes first where it may. BLAS then rounds a row the same whatever rows are beside it, which the
other order does not, and from four rows on it is faster: 24 products of 16 rows with [4096, 1024] took 54 ms so and
83 ms the other way round, on one thread of a Xeon with torch 2.13. With two rows, one clip alone, it is 55 against 31:
there a large weight comes second, so that a large model rounds a clip made alone otherwise than one beside others.
"""

import torch
from torch.nn import functional

from musicgen_serving.engine.quantised import Matrix, Quantised

FEW_ROWS = 4
SMALL_WEIGHT = 2**20  # numbers; below it the cache holds them, and the order costs nothing


def linear(x: torch.Tensor, weight: Matrix) -> torch.Tensor:
    """x [rows, in] times weight [out, in], as [rows, out], which need not lie row by row."""
    if isinstance(weight, Quantised):
        return linear(x, weight.dense().to(x.dtype))  # scaled before it is summed, as half precision ends at 65,504
    if x.device.type == "cpu" and (x.shape[0] >= FEW_ROWS or weight.numel() < SMALL_WEIGHT):
        return torch.mm(weight, x.t()).t()
    return functional.linear(x, weight)
