"""The step's matrix products: few rows with a large weight, so throughput depends on how the weight is streamed.

A layer norm before a product costs no pass of its own. With gain g, shift b, mean m and standard deviation s of a row,

    norm(x) W^T = ((x * g) W^T - m (W g)) / s + W b,

where W g and W b are known beforehand. Every kernel that writes the residual stream x also writes x * g, which the next
product reads, and for every chunk of a row its mean and the squared deviation from it, from which the product computes
m and s after its weights (Chan, Golub, LeVeque 1979: no cancellation as in E[x²] - m²).

A clip's results do not depend on the other rows: `tiles` has the argument. Multiplications and additions outside the
products are not fused (`enable_fp_fusion`), because the compiler might choose differently for another number of rows.

Each product prefetches the start of the next one's weight into L2. A launch of a CUDA graph starts about a microsecond
after the last one ended, its first weights arrive a microsecond later, and attention to a short sequence reads next to
nothing; in that time an H100 could have read some 7 MB. How much the prefetch helps is unmeasured.
"""
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# A kernel's arguments are pointers and scalars, which Triton's language has no types for.

import itertools
from dataclasses import dataclass
from typing import Any

import torch
import triton.language as tl

from musicgen_serving.engine.kernels import tiles
from musicgen_serving.engine.kernels.jit import kernel
from musicgen_serving.engine.model.quantisation import Matrix, dense, values_and_scale
from musicgen_serving.engine.model.weights import Norm

STREAM_SCALE = tl.constexpr(1 / 16)
"""Scale of x * g, exact in floating point: the stream may reach a million before a half-precision value overflows."""
EPSILON = tl.constexpr(1e-5)  # torch's layer norm
MAX_WIDTH = 2048  # of MusicGen's sizes: with statistics laid out for it, one compiled kernel serves all
L2_SHARE = 8  # prefetch an eighth of the L2 cache: 6 MB on an H100, 0.75 on an A10G; more might evict data in use
DEFAULT_PREFETCH = 6 * 2**20  # if kernels are only compiled
LINE = tl.constexpr(64)  # bytes prefetched at a time: half a cache line, as a GPU may fetch it by halves
LANES = tl.constexpr(256)


class ResidualStream:
    """The residual stream of 2n rows, with what the next product reads instead of its norm."""

    def __init__(self, rows: int, hidden: int, device: torch.device, dtype: torch.dtype) -> None:
        self.chunk = tiles.stream_chunk(hidden)
        self.values = torch.zeros((rows, hidden), device=device)
        self.scaled = torch.zeros((rows, hidden), device=device, dtype=dtype)  # values times the next norm's gain
        self.means = torch.zeros((rows, hidden // self.chunk), device=device)
        self.deviations = torch.zeros((rows, hidden // self.chunk), device=device)  # sums of squares


class SplitWorkspace:
    """Where the programs of a split sum leave their parts, and count arrivals; `arrived` is zero between launches.

    Serves products of up to `rows` rows with the given weights, in tiles of `table`.
    """

    def __init__(
        self, rows: int, matrices: list[Matrix], device: torch.device, table: tiles.TileTable = tiles.DEFAULT_TILES
    ) -> None:
        self.table = table
        elements, blocks = 1, 1
        for matrix, count in itertools.product(matrices, (rows, -(-rows // 2))):  # cross-attention has half the rows
            tile = table.tile(count, matrix)
            elements = max(elements, matrix.shape[0] * tiles.padded(count) * tile.splits)
            blocks = max(blocks, matrix.shape[0] // tile.features)
        self.partial = torch.empty(elements, device=device)
        self.arrived = torch.zeros(blocks, device=device, dtype=torch.int32)
        # bytes of the next weight; none on a CPU, whose interpreter has no prefetch
        self.max_prefetch = 0 if device.type == "cpu" else DEFAULT_PREFETCH
        if device.type == "cuda":
            self.max_prefetch = int(torch.cuda.get_device_properties(device).L2_cache_size) // L2_SHARE


class NormProjection:
    """A weight [out, in] that reads the stream's norm; row r of its output is of the stream's row r * stride."""

    def __init__(
        self, norm: Norm, weight: Matrix, next_weight: Matrix | None = None, *, stride: int = 1, gelu: bool = False
    ) -> None:
        full = dense(weight)
        self.weight = weight
        self.gain, self.shift = full @ norm.weight.float(), full @ norm.bias.float()  # [out]
        self.next_weight = next_weight  # read by the next product, if known
        self.stride = stride
        self.gelu = gelu


@dataclass(frozen=True, kw_only=True)
class ResidualProjection:
    """A weight [out, in] whose product is added to the stream's rows r * stride."""

    weight: Matrix
    even_gain: torch.Tensor  # [out], of the norm that reads the stream's even rows next
    odd_gain: torch.Tensor  # the same for its odd rows
    next_weight: Matrix | None = None
    stride: int = 1


def project(stream: ResidualStream, projection: NormProjection, out: torch.Tensor, workspace: SplitWorkspace) -> Any:
    """Write the product of the stream's norm and a weight to out [rows, out]; return the compiled kernel."""
    features, width = projection.weight.shape
    tile = workspace.table.tile(out.shape[0], projection.weight)
    values, scale = values_and_scale(projection.weight)
    return linear_kernel[features // tile.features, tile.splits](
        stream.scaled, values, scale, stream.means, stream.deviations, projection.gain, projection.shift, out,
        workspace.partial, workspace.arrived, *_prefetch(projection.next_weight, workspace),
        out.shape[0], projection.stride, width, features,
        GELU=projection.gelu, CHUNK=stream.chunk, CHUNKS=1 << (max(width, MAX_WIDTH) // stream.chunk - 1).bit_length(),
        ROWS=tiles.padded(out.shape[0]), BN=tile.features, BK=tile.width, SPLITS=tile.splits,
        num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=False,
    )  # fmt: skip


def add(stream: ResidualStream, projection: ResidualProjection, x: torch.Tensor, workspace: SplitWorkspace) -> Any:
    """Add the product of x [rows, in] and a weight to the stream; return the compiled kernel."""
    features, width = projection.weight.shape
    tile = workspace.table.tile(x.shape[0], projection.weight)
    values, scale = values_and_scale(projection.weight)
    return residual_kernel[features // tile.features, tile.splits](
        x, values, scale, stream.values, stream.scaled, projection.even_gain, projection.odd_gain, stream.means,
        stream.deviations, workspace.partial, workspace.arrived, *_prefetch(projection.next_weight, workspace),
        x.shape[0], projection.stride, width, features,
        ROWS=tiles.padded(x.shape[0]), BN=tile.features, BK=tile.width, SPLITS=tile.splits,
        num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=False,
    )  # fmt: skip


def _prefetch(weight: Matrix | None, workspace: SplitWorkspace) -> tuple[torch.Tensor | None, int]:
    """Return the next weight as bytes, and how many of them to prefetch."""
    if weight is None or not workspace.max_prefetch:
        return None, 0
    values = values_and_scale(weight)[0].view(torch.int8)
    return values, min(workspace.max_prefetch, values.numel())


@kernel
def linear_kernel(
    x, weight, scale, means, deviations, gain_product, shift_product, out,
    partial, arrived, next_weight, prefetch_size, rows, stride, width, features,
    GELU: tl.constexpr,
    CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
    ROWS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Write out [rows, features]: x [rows, width], normalised, times weight [features, width]; GELU is optional.

    Row r of x and of its statistics is row r * stride in memory. Programs are (features / BN, SPLITS). `next_weight` is
    what the next launch reads, if known.
    """
    block, split = tl.program_id(0), tl.program_id(1)
    row, column = tl.arange(0, ROWS), block * BN + tl.arange(0, BN)
    chunk = tl.arange(0, CHUNKS)
    known = (row < rows)[:, None] & (chunk < width // CHUNK)[None, :]
    place = (row * stride)[:, None] * (width // CHUNK) + chunk[None, :]
    local = tl.load(means + place, mask=known, other=0.0)  # loaded before the weights, needed after them
    within = tl.load(deviations + place, mask=known, other=0.0)
    total, last = product(
        x, weight, scale, row * stride, row < rows, column, block, split, partial, arrived, next_weight, prefetch_size,
        width, ROWS, BN, BK, SPLITS,
    )  # fmt: skip
    if last:
        mean, deviation = combine_moments(local, within, known, width, CHUNK)
        gain, shift = tl.load(gain_product + column)[None, :], tl.load(shift_product + column)[None, :]
        total = (total / STREAM_SCALE - mean[:, None] * gain) / deviation[:, None] + shift
        if GELU:
            total = 0.5 * total * (1 + tl.math.erf(total * 0.7071067811865476))
        tl.store(out + row[:, None] * features + column[None, :], total, mask=(row < rows)[:, None])


@kernel
def residual_kernel(
    x, weight, scale, stream, scaled, gain, odd_gain, means, deviations,
    partial, arrived, next_weight, prefetch_size, rows, stride, width, features,
    ROWS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Add x [rows, width] times weight [features, width] to stream [rows, features], with the next norm's statistics.

    Row r of all but x is row r * stride in memory; odd rows there have their own gain, because the unconditional rows
    skip the norm before cross-attention. Statistics are by chunks of BN columns.
    """
    block, split = tl.program_id(0), tl.program_id(1)
    row, column = tl.arange(0, ROWS), block * BN + tl.arange(0, BN)
    total, last = product(
        x, weight, scale, row, row < rows, column, block, split, partial, arrived, next_weight, prefetch_size,
        width, ROWS, BN, BK, SPLITS,
    )  # fmt: skip
    if last:
        place = row * stride
        there, mask = place[:, None] * features + column[None, :], (row < rows)[:, None]
        total += tl.load(stream + there, mask=mask, other=0.0)
        tl.store(stream + there, total, mask=mask)
        even, odd = tl.load(gain + column).to(tl.float32), tl.load(odd_gain + column).to(tl.float32)
        gained = total * tl.where((place % 2 == 0)[:, None], even[None, :], odd[None, :]) * STREAM_SCALE
        tl.store(scaled + there, gained, mask=mask)
        store_moments(total, means, deviations, place * (features // BN) + block, row < rows, BN)


@kernel
def product(
    x, weight, scale, row, real, column, block, split, partial, arrived, next_weight, prefetch_size, width,
    ROWS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Return the product [ROWS, BN] in float32, and whether this program has all of it; BK divides a split's share."""
    share = tl.multiple_of(width // SPLITS, 16)  # or the compiler would not pipeline the loads
    along = split * share + tl.arange(0, BK)
    left = x + row[:, None] * width + along[None, :]  # [ROWS, BK]
    right = weight + column[None, :].to(tl.int64) * width + along[:, None]  # [BK, BN], read along a row of the weight
    total = tl.zeros((ROWS, BN), dtype=tl.float32)
    for _ in range(0, share, BK):
        x_tile = tl.load(left, mask=real[:, None], other=0.0)
        w_tile = tl.load(right)
        total = tl.dot(x_tile, w_tile.to(x_tile.dtype), total)
        left += BK
        right += BK
    if next_weight is not None:
        prefetch(next_weight, prefetch_size)
    last = True
    if SPLITS > 1:
        total, last = reduce_splits(total, partial, arrived, block, split, ROWS, BN, SPLITS)
    if scale is not None:
        total *= tl.load(scale + column)[None, :]
    return total, last


@kernel
def reduce_splits(total, partial, arrived, block, split, ROWS: tl.constexpr, BN: tl.constexpr, SPLITS: tl.constexpr):
    """Sum all splits' parts in the program that finishes last; return also whether it is this one.

    The parts are added in their order, whichever program is last, so that the sum is always the same.
    """
    tile = tl.arange(0, ROWS)[:, None] * BN + tl.arange(0, BN)[None, :]
    parts = partial + block * (SPLITS * ROWS * BN) + tile
    tl.store(parts + split * (ROWS * BN), total)
    tl.debug_barrier()  # all of this program's threads have written before it counts itself
    last = tl.atomic_add(arrived + block, 1, sem="acq_rel") == SPLITS - 1
    if last:
        total = tl.zeros((ROWS, BN), dtype=tl.float32)
        for part in range(SPLITS):
            total += tl.load(parts + part * (ROWS * BN), cache_modifier=".cg")  # written by other programs: bypass L1
        tl.store(arrived + block, 0)  # for the next launch
    return total, last


@kernel
def combine_moments(local, within, known, width, CHUNK: tl.constexpr):
    """Return a row's mean and standard deviation [ROWS] from those of its chunks [ROWS, CHUNKS]."""
    mean = tl.sum(local, axis=1) / (width // CHUNK)
    apart = tl.where(known, local - mean[:, None], 0.0)
    squares = tl.sum(within, axis=1) + CHUNK * tl.sum(apart * apart, axis=1)
    return mean, tl.sqrt(squares / width + EPSILON)


@kernel
def store_moments(values, means, deviations, there, real, WIDTH: tl.constexpr):
    """Write the mean of each row of values [ROWS, WIDTH], and the sum of squared deviations from it."""
    mean = tl.sum(values, axis=1) / WIDTH
    apart = values - mean[:, None]
    tl.store(means + there, mean, mask=real)
    tl.store(deviations + there, tl.sum(apart * apart, axis=1), mask=real)


@kernel
def prefetch(target, prefetch_size):
    """Prefetch this program's share of the `prefetch_size` bytes at `target` into L2; shares may overlap."""
    programs = tl.num_programs(0) * tl.num_programs(1)
    lines = prefetch_size // LINE
    share = (lines + programs - 1) // programs
    first = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * share
    for start in range(0, share, LANES):
        line = tl.minimum(first + start + tl.arange(0, LANES), lines - 1)
        tl.inline_asm_elementwise(
            "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [target.to(tl.int64) + line * LINE],
            dtype=tl.int32, is_pure=False, pack=1,
        )  # fmt: skip
