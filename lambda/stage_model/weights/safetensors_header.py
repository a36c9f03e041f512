"""Tensors of published weight files, and their index from a safetensors header alone.

Format: https://github.com/huggingface/safetensors#format.
"""

import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from stage_model.errors import StagingError
from stage_model.source.byte_source import Source

_MAX_HEADER = 32 << 20  # bytes; the format allows 100 MB, models of this size have 100 kB
# Bytes per element, by safetensors' names.
ITEM_SIZES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
MAX_TENSORS = 100_000
_MAX_DIMENSIONS = 16
_MAX_COUNT = 1 << 40  # elements


@dataclass(frozen=True)
class Tensor:
    """A tensor in row-major order, at byte `start` of its file.

    `data` holds the elements, reordered, of a tensor that the file stores in another order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    data: bytes | None = None

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The published size in bytes."""
        return self.count * ITEM_SIZES[self.dtype]

    @property
    def end(self) -> int:
        """The offset after the last element, in bytes."""
        return self.start + self.nbytes


@dataclass(frozen=True)
class KnownBytes:
    """Bytes of a file that were read during planning and must be the same when it is read again."""

    start: int
    data: bytes


@dataclass(frozen=True)
class WeightFile:
    path: str
    source: Source
    sha256: str
    tensors: Sequence[Tensor]
    known: Sequence[KnownBytes] = field(default_factory=tuple[KnownBytes, ...])


def read_range(source: Source, start: int, length: int, limit: int = 64 << 20) -> bytes:
    """Return bytes of a source. Raises StagingError for a range outside it or over `limit` bytes."""
    if not (start >= 0 and 0 <= length <= limit and start + length <= source.size):
        raise StagingError(f"a range must lie within {source.size} bytes and be at most {limit}, got {start}+{length}")
    data = bytearray(length)
    source.read_into(start, [memoryview(data)])
    return bytes(data)


def check_shape(name: str, shape: object) -> tuple[int, ...]:
    """Return a tensor's shape. Raises StagingError unless it is a short list of valid sizes."""
    sizes = check_sizes(name, "shape", shape)
    if math.prod(sizes) > _MAX_COUNT:
        raise StagingError(f"{name!r:.100} must have at most {_MAX_COUNT} elements, got {reprlib.repr(sizes)}")
    return sizes


def check_sizes(name: str, what: str, value: object) -> tuple[int, ...]:
    """Return a tensor's shape or stride (`what`). Raises StagingError unless it is a short list of valid sizes."""
    sizes = cast(Sequence[object], value) if isinstance(value, list | tuple) else [None]
    if len(sizes) > _MAX_DIMENSIONS or not all(type(size) is int and 0 <= size <= _MAX_COUNT for size in sizes):
        raise StagingError(
            f"the {what} of {name!r:.100} must be a list of sizes, got {reprlib.repr(cast(object, value))}"
        )
    return tuple(cast(Sequence[int], sizes))


def index_safetensors(path: str, source: Source, sha256: str) -> WeightFile:
    """Read the header. Raises StagingError if it is malformed, or its tensors leave gaps or overlap."""
    length = int.from_bytes(read_range(source, 0, 8), "little") if source.size >= 8 else -1
    if not 2 <= length <= min(_MAX_HEADER, source.size - 8):
        raise StagingError(f"the header of {path} must be 2 to {_MAX_HEADER} bytes within the file, got {length}")
    header = read_range(source, 0, 8 + length)
    tensors = [_tensor(path, name, entry, 8 + length) for name, entry in _entries(path, header[8:]).items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    end = 8 + length
    for tensor in tensors:
        if tensor.start != end:
            raise StagingError(f"{tensor.name} in {path} must begin at byte {end}, got {tensor.start}")
        end = tensor.end
    if end != source.size:
        raise StagingError(f"the tensors of {path} must end with the file at byte {source.size}, got {end}")
    return WeightFile(path, source, sha256, tensors, (KnownBytes(0, header),))


def _entries(path: str, header: bytes) -> dict[str, dict[str, Any]]:
    try:
        document: Any = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise StagingError(f"the header of {path} must be JSON, got {error}") from error
    if not isinstance(document, dict):
        raise StagingError(f"the header of {path} must be a JSON object, got {document!r:.60}")
    entries = {k: v for k, v in cast(dict[str, Any], document).items() if k != "__metadata__"}
    if not 0 < len(entries) <= MAX_TENSORS or not all(isinstance(entry, dict) for entry in entries.values()):
        raise StagingError(f"{path} must hold 1 to {MAX_TENSORS} tensors, got {len(entries)} entries")
    return entries


def _tensor(path: str, name: str, entry: dict[str, Any], base: int) -> Tensor:
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise StagingError(f"the dtype of {name} in {path} must be one of {', '.join(ITEM_SIZES)}, got {dtype!r}")
    match entry.get("data_offsets"):
        case [int(start), int(stop)] if start >= 0:
            tensor = Tensor(name, dtype, check_shape(name, entry.get("shape")), base + start)
            if stop - start == tensor.nbytes:
                return tensor
        case _:
            pass
    raise StagingError(f"the data_offsets of {name} in {path} must fit its shape, got {entry.get('data_offsets')!r}")
