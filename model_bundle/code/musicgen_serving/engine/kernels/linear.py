"""A step's matrix products: few rows with a large weight, so that what counts is how the weight is streamed.

A layer norm before a product costs no pass of its own. With gain g, shift b, mean m and standard deviation s of a row,

    norm(x) W^T = ((x * g) W^T - m (W g)) / s + W b,

where W g and W b are known beforehand. Whoever writes the residual stream x writes x * g beside it, as the next product
reads it, and for every chunk of a row its sum and its squared deviation from the chunk's mean, from which the product
has m and s when its weights have gone by (Chan, Golub, LeVeque 1979: no cancellation as in E[x²] - m²).
"""
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# A kernel's arguments are pointers and numbers, which Triton's language has no types for.

import triton.language as tl

from musicgen_serving.engine.kernels.kernel import kernel
from musicgen_serving.engine.kernels.prefetch import prefetch

GAINED = tl.constexpr(1 / 16)
"""Scale of x * g, exact in floating point: the stream may reach a million before a half-precision number overflows."""
EPSILON = tl.constexpr(1e-5)  # torch's layer norm


@kernel
def linear_kernel(
    x, weight, scale, means, deviations, gain_product, shift_product, out,
    partial, arrived, ahead, ahead_size, rows, step, width, features,
    GELU: tl.constexpr,
    CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
    ROWS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """out [rows, features] = x [rows, width], normalised, times weight [features, width]; activated if asked.

    Row r of x and of its statistics is row r * step in memory. Programs are (features / BN, SPLITS). `ahead` is what
    the next launch reads, if that is known.
    """
    block, split = tl.program_id(0), tl.program_id(1)
    row, column = tl.arange(0, ROWS), block * BN + tl.arange(0, BN)
    # asked for before the weights, needed after them
    local, within, known = statistics(means, deviations, row * step, row < rows, width // CHUNK, CHUNKS)
    total = products(x, weight, row * step, row < rows, column, split, width, ROWS, BN, BK, SPLITS)
    if ahead is not None:
        prefetch(ahead, ahead_size)
    last = True
    if SPLITS > 1:
        total, last = gathered(total, partial, arrived, block, split, ROWS, BN, SPLITS)
    if last:
        if scale is not None:
            total *= tl.load(scale + column)[None, :]
        mean, deviation = moments(local, within, known, width, CHUNK)
        total = normalised(total, mean, deviation, gain_product, shift_product, column)
        if GELU:
            total = 0.5 * total * (1 + tl.math.erf(total * 0.7071067811865476))
        tl.store(out + row[:, None] * features + column[None, :], total, mask=(row < rows)[:, None])


@kernel
def residual_kernel(
    x, weight, scale, stream, gained, gain, odd_gain, means, deviations,
    partial, arrived, ahead, ahead_size, rows, step, width, features,
    ROWS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """stream [rows, features] += x [rows, width] times weight [features, width], and what the next norm wants of it.

    Row r of all but x is row r * step in memory; rows of odd number there are scaled by a gain of their own,
    because the unconditional rows skip the norm before cross-attention. Statistics are by chunks of BN columns.
    """
    block, split = tl.program_id(0), tl.program_id(1)
    row, column = tl.arange(0, ROWS), block * BN + tl.arange(0, BN)
    total = products(x, weight, row, row < rows, column, split, width, ROWS, BN, BK, SPLITS)
    if ahead is not None:
        prefetch(ahead, ahead_size)
    last = True
    if SPLITS > 1:
        total, last = gathered(total, partial, arrived, block, split, ROWS, BN, SPLITS)
    if last:
        if scale is not None:
            total *= tl.load(scale + column)[None, :]
        place = row * step
        there, mask = place[:, None] * features + column[None, :], (row < rows)[:, None]
        total += tl.load(stream + there, mask=mask, other=0.0)
        tl.store(stream + there, total, mask=mask)
        even, odd = tl.load(gain + column).to(tl.float32), tl.load(odd_gain + column).to(tl.float32)
        scaled = total * tl.where((place % 2 == 0)[:, None], even[None, :], odd[None, :]) * GAINED
        tl.store(gained + there, scaled, mask=mask)
        store_moments(total, means, deviations, place * (features // BN) + block, row < rows, BN)


@kernel
def products(
    x, weight, row, real, column, split, width,
    ROWS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """This split's part of the products [ROWS, BN], in float32; BK divides it."""
    share = tl.multiple_of(width // SPLITS, 16)  # or the loads would be thought too narrow to run ahead
    along = split * share + tl.arange(0, BK)
    left = x + row[:, None] * width + along[None, :]  # [ROWS, BK]
    right = weight + column[None, :].to(tl.int64) * width + along[:, None]  # [BK, BN], read along a row of the weight
    total = tl.zeros((ROWS, BN), dtype=tl.float32)
    for _ in range(0, share, BK):
        some = tl.load(left, mask=real[:, None], other=0.0)
        many = tl.load(right, eviction_policy="evict_first")  # once a step: no use to keep it
        total = tl.dot(some, many.to(some.dtype), total)
        left += BK
        right += BK
    return total


@kernel
def gathered(total, partial, arrived, block, split, ROWS: tl.constexpr, BN: tl.constexpr, SPLITS: tl.constexpr):
    """The sum of all splits' parts, in the program that comes last, and whether this is the one.

    The parts are added in their order, whoever is last, so that the sum is always the same.
    """
    tile = tl.arange(0, ROWS)[:, None] * BN + tl.arange(0, BN)[None, :]
    parts = partial + block * (SPLITS * ROWS * BN) + tile
    tl.store(parts + split * (ROWS * BN), total)
    tl.debug_barrier()  # all of this program's threads have written before it says so
    last = tl.atomic_add(arrived + block, 1, sem="acq_rel") == SPLITS - 1
    if last:
        total = tl.zeros((ROWS, BN), dtype=tl.float32)
        for part in range(SPLITS):
            total += tl.load(parts + part * (ROWS * BN), cache_modifier=".cg")  # other programs wrote it: not from L1
        tl.store(arrived + block, 0)  # for the next launch
    return total, last


@kernel
def statistics(means, deviations, row, real, count, CHUNKS: tl.constexpr):
    """Means and squared deviations [ROWS, CHUNKS] of the `count` chunks of each row, and which of them there are."""
    chunk = tl.arange(0, CHUNKS)
    there = row[:, None] * count + chunk[None, :]
    known = real[:, None] & (chunk < count)[None, :]
    return tl.load(means + there, mask=known, other=0.0), tl.load(deviations + there, mask=known, other=0.0), known


@kernel
def moments(local, within, known, width, CHUNK: tl.constexpr):
    """Mean and standard deviation [ROWS] of a row from those of its chunks [ROWS, CHUNKS]."""
    mean = tl.sum(local, axis=1) / (width // CHUNK)
    apart = tl.where(known, local - mean[:, None], 0.0)
    squares = tl.sum(within, axis=1) + CHUNK * tl.sum(apart * apart, axis=1)
    return mean, tl.sqrt(squares / width + EPSILON)


@kernel
def normalised(total, mean, deviation, gain_product, shift_product, column):
    """Products [ROWS, BN] with a normalised row, from those with a row that was only scaled."""
    gain, shift = tl.load(gain_product + column)[None, :], tl.load(shift_product + column)[None, :]
    return (total / GAINED - mean[:, None] * gain) / deviation[:, None] + shift


@kernel
def store_moments(values, means, deviations, there, real, WIDTH: tl.constexpr):
    """Write the mean of each row of values [ROWS, WIDTH], and the sum of squared deviations from it."""
    mean = tl.sum(values, axis=1) / WIDTH
    apart = values - mean[:, None]
    tl.store(means + there, mean, mask=real)
    tl.store(deviations + there, tl.sum(apart * apart, axis=1), mask=real)
