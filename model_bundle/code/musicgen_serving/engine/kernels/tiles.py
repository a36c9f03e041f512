"""How each matrix product is cut into programs: a table for all devices, which `tuning` refines on a GPU.

**A row is summed in one order, however many rows a step has**, so that a clip is bit-identical alone and in any batch.
What orders a sum depends on the weight's shape alone: its `Order`, and the statistics' chunks of STREAM_CHUNK columns.
What depends on the number of rows does not: tensor cores (mma.sync, m16n8k16) compute each element of a tile from its
own row and column, 16 elements of the sum at a time in ascending order, carried from one step to the next in the same
accumulator; no warps share a sum (Triton spreads them over rows and features). Two more things could differ, which a
test excludes in the compiled code of every tile. A sum over columns follows Triton's layout: it is the same if a tile
of the stream has STREAM_CHUNK features and as many warps as it has rows / 8, and any other tile at least two warps. And
Hopper's wgmma, which Triton would choose from 64 rows on, need not round as mma.sync does: `jit` disables it.

The table is reasoned, not measured. A product is as fast as its weight is read if enough of the weight is in flight: an
H100 needs 3.35 TB/s * 0.8 µs = 2.7 MB, an A10G 0.5 MB. musicgen-large with one clip has 128 to 256 programs, each with
4 * 32 * 64 * 2 bytes = 16 KB in flight: 2 to 4 MB. Shared memory holds stages - 1 parts of x and the weight, 24 KiB for
one clip: four programs fit the 100 KiB of a multiprocessor of an A10G, L4 or L40S, 320 on an A10G's 80, so that every
launch is a single wave. With 64 rows 36 to 48 KiB still leave room for two; so must registers (`is_crowded`). Splits
cost a trip to the L2 cache, about a microsecond, and are used where a product would have fewer than 128 programs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from musicgen_serving.engine.model.quantisation import Matrix, values_and_scale

MIN_SIZE = 16  # what tensor cores multiply
STREAM_CHUNK = 32
"""Columns of the residual stream whose mean and deviation are kept together; the features of a product into it."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """In which order a product is summed: in `splits` parts, added in their order, `width` elements at a time."""

    splits: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One program's part of a product: `features` outputs over a `splits`-th of the sum, by so many warps."""

    features: int
    width: int
    splits: int
    warps: int
    stages: int

    @property
    def order(self) -> Order:
        return Order(splits=self.splits, width=self.width)

    def shared_bytes(self, rows: int, item: int) -> int:
        """Return the shared memory of the pipelined loads: float16 rows, and a weight of `item` bytes an element."""
        return (self.stages - 1) * self.width * (2 * padded(rows) + item * self.features)


def _tile(features: int, warps: int, stages: int) -> Tile:
    return Tile(features=features, width=64, splits=1, warps=warps, stages=stages)


NARROW = {16: _tile(32, 2, 5), 32: _tile(32, 4, 5), 64: _tile(32, 8, 4)}
"""By padded rows, for weights with no more outputs than inputs: output, query and second feed-forward projections."""

WIDE = {16: _tile(32, 4, 5), 32: _tile(64, 4, 4), 64: _tile(64, 8, 4)}
"""For weights with more outputs than inputs: fused QKV, first feed-forward projection, heads."""

SQUARE_SPLITS, TALL_SPLITS = 2, 4  # as many outputs as inputs, and fewer

Key = tuple[int, int, int, int]
"""Padded rows, outputs, inputs and bytes an element: what a tile is chosen by."""


def padded(rows: int) -> int:
    """Round rows up to a power of two of at least 16; raise ValueError beyond 64."""
    if rows > max(NARROW):
        raise ValueError(f"a step has at most {max(NARROW)} rows, got {rows}")
    return max(MIN_SIZE, 1 << (rows - 1).bit_length())


def stream_chunk(hidden: int) -> int:
    """Return how many columns of the residual stream share their statistics."""
    return math.gcd(STREAM_CHUNK, hidden)


def is_crowded(rows: int, features: int, warps: int, item: int) -> bool:
    """Return whether registers leave room for only one program of this shape on a multiprocessor.

    Two of eight warps may have 128 each. This one converts 8-bit weights: compiled, it takes 138 to 156, or spills.
    """
    return (rows, features, warps, item) == (64, 64, 8, 1)


def default_tile(rows: int, features: int, width: int, item: int = 2) -> Tile:
    """Return the table's tile, reduced to powers of two that divide a weight [features, width]."""
    entry = (WIDE if features > width else NARROW)[padded(rows)]
    if is_crowded(padded(rows), entry.features, entry.warps, item):
        entry = replace(entry, features=entry.features // 2)
    wanted = 1 if features > width else SQUARE_SPLITS if features == width else TALL_SPLITS
    splits = math.gcd(wanted, width // MIN_SIZE)
    return replace(
        entry, features=math.gcd(entry.features, features), width=math.gcd(entry.width, width // splits), splits=splits
    )


@dataclass(frozen=True)
class TileTable:
    """The tile of every product: one that was measured on this device, or the default."""

    tuned: Mapping[Key, Tile] = field(default_factory=dict[Key, Tile])

    def tile(self, rows: int, weight: Matrix) -> Tile:
        """Return the tile for `rows` rows times a weight."""
        key = tile_key(rows, weight)
        return self.tuned.get(key) or default_tile(*key)


def tile_key(rows: int, weight: Matrix) -> Key:
    """Return what the tile of `rows` rows times a weight is chosen by."""
    features, width = weight.shape
    return padded(rows), features, width, values_and_scale(weight)[0].itemsize


DEFAULT_TILES = TileTable()
