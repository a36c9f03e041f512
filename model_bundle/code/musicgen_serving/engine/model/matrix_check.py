"""Check packed and 8-bit matrices against the weights that they are made of, while both are in memory.

A second copy of the weights would not fit beside the first, so a whole 8-bit model cannot be compared with the float16
one. Its matrices can, one by one; the logits are then off by about twice the error of a matrix (docs/engine.md).
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's norm, isfinite and tolist have no types.

import torch
from torch.nn import functional

from musicgen_serving.engine.model.quantisation import Matrix, MatrixName, Pack, Packing, linear

MAX_ERROR = {"float32": 1e-4, "float16": 1e-3, "int8": 0.05}
"""Of a product with random rows: rounding's order; a checkpoint in float32 rounded to 11 bits; five times the error of
normally distributed weights, and twice that of a CPU's 7-bit activations."""
CPU_SAMPLE = 7  # every seventh matrix; a layer has seven, the text's included, and the heads come last
ROWS = 2  # as in a step of one clip


class MatrixCheck:
    """Packs matrices as `packing` does, and compares every `sample`-th product with that of the weight as read."""

    def __init__(self, packing: Packing, sample: int = 1) -> None:
        exceptions: dict[MatrixName, Pack] = {name: self._checked(pack) for name, pack in packing.exceptions.items()}
        self.packing = Packing(self._checked(packing.most), exceptions)
        self._sample = sample
        self._seen = 0
        self._errors: list[torch.Tensor] = []

    def _checked(self, pack: Pack) -> Pack:
        def checked(weight: torch.Tensor) -> Matrix:
            matrix = pack(weight)
            # one more after each layer, so that every kind is sampled
            if matrix is not weight and (self._seen + self._seen // CPU_SAMPLE) % self._sample == 0:
                self._errors.append(product_error(matrix, weight))
            self._seen += 1
            return matrix

        return checked

    @property
    def error(self) -> float:
        """The largest error so far; infinite if it is not a number, 0 without packed matrices. Waits for the device."""
        worst = float(torch.stack(self._errors).amax()) if self._errors else 0.0
        return worst if worst == worst else float("inf")


@torch.inference_mode()
def product_error(matrix: Matrix, weight: torch.Tensor) -> torch.Tensor:
    """Return the error of random rows times a matrix, as a norm relative to that of the product with the weight."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, weight.shape[1], generator=generator).to(weight.device, weight.dtype)
    got, exact = linear(x, matrix).float(), functional.linear(x.float(), weight.float())
    return (got - exact).norm() / exact.norm().clamp_min(1e-30)
