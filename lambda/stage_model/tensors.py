"""Tensors as published weight files hold them."""

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from stage_model.errors import StagingError
from stage_model.sources import Source

# Bytes per element, by safetensors' names.
ITEM_SIZES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
MAX_TENSORS = 100_000
_MAX_DIMENSIONS = 16
_MAX_COUNT = 1 << 40  # elements


@dataclass(frozen=True)
class Tensor:
    """A tensor whose elements lie in row-major order in its file: `start` is the first one's offset in bytes.

    `data` holds the elements of one that did not lie so, put in order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    data: bytes | None = None

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The length of the elements in bytes, as published."""
        return self.count * ITEM_SIZES[self.dtype]

    @property
    def end(self) -> int:
        """The offset in bytes after the last element."""
        return self.start + self.nbytes


@dataclass(frozen=True)
class Known:
    """Bytes of a file that were read while planning; a later reading must find the same."""

    start: int
    data: bytes


@dataclass(frozen=True)
class WeightFile:
    """A published weight file and what it holds."""

    path: str
    source: Source
    sha256: str
    tensors: Sequence[Tensor]
    known: Sequence[Known] = field(default_factory=tuple[Known, ...])


def read_range(source: Source, start: int, length: int, limit: int = 64 << 20) -> bytes:
    """Return bytes of a source. Raises StagingError for a range outside it, or longer than `limit` bytes."""
    if not (start >= 0 and 0 <= length <= limit and start + length <= source.size):
        raise StagingError(f"a range must lie within {source.size} bytes and be at most {limit}, got {start}+{length}")
    data = bytearray(length)
    source.read_into(start, [memoryview(data)])
    return bytes(data)


def check_shape(name: str, shape: object) -> tuple[int, ...]:
    """Return a tensor's shape. Raises StagingError unless it is a modest list of sizes."""
    sizes = _check_counts(name, "shape", shape)
    if math.prod(sizes) > _MAX_COUNT:
        raise StagingError(f"{name!r:.100} must have at most {_MAX_COUNT} elements, got {reprlib.repr(sizes)}")
    return sizes


def check_stride(name: str, stride: object) -> tuple[int, ...]:
    """Return a view's strides, in elements. Raises StagingError unless they are a modest list of them."""
    return _check_counts(name, "stride", stride)


def _check_counts(name: str, what: str, value: object) -> tuple[int, ...]:
    counts = cast(Sequence[object], value) if isinstance(value, list | tuple) else None
    if counts is None or len(counts) > _MAX_DIMENSIONS or not all(map(_is_count, counts)):
        raise StagingError(f"the {what} of {name!r:.100} must be a list of sizes, got {reprlib.repr(counts)}")
    return tuple(cast(Sequence[int], counts))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_COUNT
