"""What launches the matrix products: the residual stream and its statistics, norms folded into weights, scratch.

Everything is made once for a window; a launch allocates nothing, so that its addresses stay for a CUDA graph.
"""

from dataclasses import dataclass
from typing import Self

import torch

from musicgen_serving.engine.decoder_weights import Norm
from musicgen_serving.engine.kernels import tiles
from musicgen_serving.engine.kernels.linear import linear_kernel, residual_kernel
from musicgen_serving.engine.kernels.prefetch import bytes_ahead
from musicgen_serving.engine.quantised import Matrix, Quantised, dense

WIDEST = 2048  # of MusicGen's sizes: with the statistics laid out for it, one compiled kernel serves all


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The residual stream of 2n rows, and what the products read instead of its norm (see `linear`)."""

    values: torch.Tensor  # [2n, H], float32
    gained: torch.Tensor  # [2n, H], values times the next norm's gain
    means: torch.Tensor  # [2n, H / chunk], float32
    deviations: torch.Tensor  # [2n, H / chunk], sums of squares, float32
    chunk: int

    @classmethod
    def empty(cls, rows: int, hidden: int, device: torch.device, dtype: torch.dtype) -> Self:
        """All zero, with the chunks that the products into the stream write."""
        chunk = tiles.tile(rows, hidden, hidden).features

        def zeros(width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros((rows, width), device=device, dtype=dtype)

        return cls(
            values=zeros(hidden), gained=zeros(hidden, dtype), means=zeros(hidden // chunk),
            deviations=zeros(hidden // chunk), chunk=chunk,
        )  # fmt: skip


@dataclass(frozen=True)
class Folded:
    """A norm's gain [in] and shift [in] multiplied by the weight [out, in] that follows it, [out] each, in float32."""

    gain: torch.Tensor
    shift: torch.Tensor

    @classmethod
    def of(cls, norm: Norm, weight: Matrix) -> Self:
        """For one norm and the weight that reads it."""
        full = dense(weight)
        return cls(full @ norm.weight.float(), full @ norm.bias.float())


@dataclass(frozen=True)
class Scratch:
    """Where the programs of a split sum leave their parts, and count who has arrived; zero between launches.

    `ahead` is how many bytes a launch asks for of the weight that comes next.
    """

    partial: torch.Tensor  # float32
    arrived: torch.Tensor  # int32
    ahead: int

    @classmethod
    def empty(cls, rows: int, matrices: list[Matrix], device: torch.device) -> Self:
        """For products of up to `rows` rows with these weights."""
        numbers, blocks = 1, 1
        for features, width in (matrix.shape for matrix in matrices):
            cut = tiles.tile(rows, features, width)
            numbers = max(numbers, features * tiles.padded(rows) * cut.splits)
            blocks = max(blocks, features // cut.features)
        arrived = torch.zeros(blocks, device=device, dtype=torch.int32)
        return cls(torch.empty(numbers, device=device), arrived, bytes_ahead(device))


def project(
    stream: Stream, folded: Folded, weight: Matrix, out: torch.Tensor, scratch: Scratch, *,
    then: Matrix | None = None, step: int = 1, gelu: bool = False,
) -> None:  # fmt: skip
    """out [rows, out] = the stream's norm times weight [out, in]; `out`'s row r is of the stream's row r * step.

    `then` is the weight that will be read next, if that is known.
    """
    features, width = weight.shape
    cut = tiles.tile(stream.values.shape[0], features, width)
    values, scale = _parts(weight)
    linear_kernel[features // cut.features, cut.splits](
        stream.gained, values, scale, stream.means, stream.deviations, folded.gain, folded.shift, out,
        scratch.partial, scratch.arrived, *_ahead(then, scratch), out.shape[0], step, width, features,
        GELU=gelu, CHUNK=stream.chunk, CHUNKS=_power_of_two(max(width, WIDEST) // stream.chunk),
        ROWS=tiles.padded(out.shape[0]), BN=cut.features, BK=cut.width, SPLITS=cut.splits,
        num_warps=cut.warps, num_stages=cut.stages,
    )  # fmt: skip


def add(
    stream: Stream, x: torch.Tensor, weight: Matrix, gains: tuple[torch.Tensor, torch.Tensor], scratch: Scratch, *,
    then: Matrix | None = None, step: int = 1,
) -> None:  # fmt: skip
    """Add x [rows, in] times weight [out, in] to the stream's rows r * step; `then` as in `project`.

    `gains` are those of the norm that comes next for even rows of the stream, and for odd ones.
    """
    features, width = weight.shape
    cut = tiles.tile(stream.values.shape[0], features, width)
    values, scale = _parts(weight)
    residual_kernel[features // cut.features, cut.splits](
        x, values, scale, stream.values, stream.gained, *gains, stream.means, stream.deviations,
        scratch.partial, scratch.arrived, *_ahead(then, scratch), x.shape[0], step, width, features,
        ROWS=tiles.padded(x.shape[0]), BN=cut.features, BK=cut.width, SPLITS=cut.splits,
        num_warps=cut.warps, num_stages=cut.stages,
    )  # fmt: skip


def _parts(weight: Matrix) -> tuple[torch.Tensor, torch.Tensor | None]:
    return (weight.values, weight.scale) if isinstance(weight, Quantised) else (weight, None)


def _ahead(weight: Matrix | None, scratch: Scratch) -> tuple[torch.Tensor | None, int]:
    """The next weight as bytes, and how many of them to ask for."""
    if weight is None or not scratch.ahead:
        return None, 0
    values = _parts(weight)[0].view(torch.int8)
    return values, min(scratch.ahead, values.numel())


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
