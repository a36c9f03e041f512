"""How each matrix product is cut into programs: one table, to be tuned on a GPU.

The table is reasoned, not measured. A product is as fast as its weight is read if enough of the weight is in flight: an
H100 needs 3.35 TB/s * 0.8 µs = 2.7 MB, which is programs * (stages - 1) * features * width * 2 bytes; for
musicgen-large, one clip, 128 * 4 * 16 * 256 * 2 = 4.2 MB. With few clips the sum is not split: there are programs
enough, and reducing parts costs a trip to the L2 cache. With many rows each program reads x again, which favours tiles
of more features; fewer tiles then need splits to keep 132 multiprocessors busy.
Everything fits the 99 KiB of shared memory that a program gets on the smallest cards (A10G, L4, L40S).
"""

import math
from dataclasses import dataclass, replace

MIN_SIZE = 16  # what tensor cores multiply


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One program's part: `features` outputs over a `splits`-th of the sum, `width` elements of it at a time."""

    features: int
    width: int
    splits: int
    warps: int
    stages: int


SQUARE = {
    16: Tile(features=16, width=256, splits=1, warps=2, stages=5),
    32: Tile(features=32, width=128, splits=4, warps=4, stages=4),
    64: Tile(features=64, width=128, splits=4, warps=8, stages=3),
}
"""By padded rows, for weights with no more outputs than inputs: output, query and second feed-forward projections."""

WIDE = {
    16: Tile(features=32, width=256, splits=1, warps=4, stages=4),
    32: Tile(features=32, width=128, splits=1, warps=4, stages=4),
    64: Tile(features=64, width=128, splits=2, warps=8, stages=3),
}
"""For weights with more outputs than inputs: fused QKV, first feed-forward projection, heads."""


def padded(rows: int) -> int:
    """Round rows up to a power of two of at least 16; raise ValueError beyond 64."""
    if rows > max(SQUARE):
        raise ValueError(f"a step has at most {max(SQUARE)} rows, got {rows}")
    return max(MIN_SIZE, 1 << (rows - 1).bit_length())


def tile(rows: int, features: int, width: int) -> Tile:
    """Return the table's tile, reduced to powers of two that divide a weight [features, width]."""
    entry = (WIDE if features > width else SQUARE)[padded(rows)]
    splits = math.gcd(entry.splits, width // MIN_SIZE)
    return replace(
        entry, features=math.gcd(entry.features, features), width=math.gcd(entry.width, width // splits), splits=splits
    )
