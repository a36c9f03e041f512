"""Tensors of published weight files, and their index from a safetensors header alone.

Format: https://github.com/huggingface/safetensors#format.
"""

import json
import math
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from stage_model.errors import StagingError
from stage_model.memory import MemoryBudget, text_cost
from stage_model.source.byte_source import Source

_MAX_HEADER = 16 << 20  # bytes; the format allows 100 MB, models of this size have 200 kB
_MAX_ENTRY = 4096  # characters of one tensor's entry; real ones have 80
_MAX_BRACKETS = 100  # in one entry; the safetensors library nests at most 128 deep
# Bytes per element, by safetensors' names.
ITEM_SIZES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
MAX_TENSORS = 100_000
# Bytes that a tensor takes until it is staged, and a byte of its name: here, in shards, hash streams and journals.
_TENSOR_COST, _NAME_COST = 1000, 8
_MAX_DIMENSIONS = 16
_MAX_COUNT = 1 << 40  # elements


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class KnownBytes:
    """Bytes of a file that were read during planning and must be the same when it is read again."""

    start: int
    data: bytes


@dataclass(frozen=True)
class WeightFile:
    """A published file of weights. Of a `selected` one only `tensors` are staged; the others are read to be hashed."""

    path: str
    source: Source
    sha256: str
    tensors: Sequence[Tensor]
    known: Sequence[KnownBytes] = field(default_factory=tuple[KnownBytes, ...])
    selected: bool = False


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


def charge_tensor(memory: MemoryBudget, path: str, name: str) -> None:
    """Charge a tensor to the run's memory. Raises StagingError for one too many, or a name that UTF-8 cannot hold."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise StagingError(f"the tensors of {path} must have names in UTF-8, got {name!a:.100}") from error
    memory.charge(f"a tensor of {path}, {name:.40},", _TENSOR_COST + _NAME_COST * length)


def index_safetensors(path: str, source: Source, sha256: str, memory: MemoryBudget | None = None) -> WeightFile:
    """Read the header, charged to the run's memory.

    Raises StagingError if it is malformed or too large, or its tensors leave gaps or overlap.
    """
    memory = memory or MemoryBudget()
    length = int.from_bytes(read_range(source, 0, 8), "little") if source.size >= 8 else -1
    if not 2 <= length <= min(_MAX_HEADER, source.size - 8):
        raise StagingError(f"the header of {path} must be 2 to {_MAX_HEADER} bytes within the file, got {length}")
    what = f"the header of {path}"
    memory.charge(what, 8 + length)
    with memory.lend(what, 2 * length):
        header = read_range(source, 0, 8 + length)
    with memory.lend(what, 2 * text_cost(header[8:])):
        tensors = _read_tensors(path, header[8:], memory)
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    end = 8 + length
    for tensor in tensors:
        if tensor.start != end:
            raise StagingError(f"{tensor.name:.100} in {path} must begin at byte {end}, got {tensor.start}")
        end = tensor.end
    if end != source.size:
        raise StagingError(f"the tensors of {path} must end with the file at byte {source.size}, got {end}")
    return WeightFile(path, source, sha256, tensors, (KnownBytes(0, header),))


def _read_tensors(path: str, header: bytes, memory: MemoryBudget) -> list[Tensor]:
    """Return the tensors in a header, read entry by entry: whole, its objects can take 60 times its text."""
    tensors, has_metadata = dict[str, Tensor](), False
    try:
        scanner = _Scanner(header.decode())
        for name in scanner.members():
            if name == "__metadata__":
                if has_metadata:
                    raise ValueError("__metadata__ twice")
                has_metadata = True
                scanner.skip_metadata()
                continue
            if len(tensors) == MAX_TENSORS:
                raise StagingError(f"{path} must hold 1 to {MAX_TENSORS} tensors, got more")
            charge_tensor(memory, path, name)
            tensor = _tensor(path, name, scanner.entry(name), 8 + len(header))
            if tensors.setdefault(name, tensor) is not tensor:
                raise StagingError(f"{path} must name every tensor once, got {name:.100} twice")
        scanner.end()
    except ValueError as error:
        raise StagingError(f"the header of {path} must be a JSON object, got {error!s:.300}") from error
    if not tensors:
        raise StagingError(f"{path} must hold 1 to {MAX_TENSORS} tensors, got none")
    return list(tensors.values())


def _parse_int(text: str) -> float:
    value = int(text)
    if text == "-0" or value.bit_length() > 1023:  # as in the safetensors library: a float, or beyond one
        return _parse_float(text)
    return value


def _parse_float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _reject(text)


def _reject(text: str) -> NoReturn:
    raise ValueError(f"the number {text:.40}")


# Objects become tuples of pairs, which show fields given twice.
_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=cast(Any, _parse_int), parse_float=_parse_float, parse_constant=_reject
)
_SPACE = re.compile(r"[ \t\n\r]*")


class _Scanner:
    """A position in a header's text. Methods raise ValueError for what the format does not allow there."""

    def __init__(self, text: str) -> None:
        if not text.startswith("{"):
            raise ValueError(f"{text[:20]!r} at its beginning")
        self._text = text
        self._at = 0

    def members(self) -> Iterator[str]:
        """Yield the names in the object that begins here; the caller reads each value before the next name."""
        self._take("{")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            name = self._string()
            self._take(":")
            yield name
            if self._take(",}") == "}":
                return

    def entry(self, name: str) -> dict[str, Any]:
        """Return a tensor's entry."""
        self._peek()
        text = self._text[self._at : self._at + _MAX_ENTRY]
        if text[:1] != "{":
            raise ValueError(f"{text[:20]!r} for {name!r:.100}")
        try:
            pairs, length = _DECODER.raw_decode(text)
        except ValueError as error:
            raise ValueError(f"for {name!r:.100} no object of up to {_MAX_ENTRY} characters: {error}") from None
        text = text[:length]
        if text.count("[") + text.count("{") > _MAX_BRACKETS:
            raise ValueError(f"over {_MAX_BRACKETS} brackets for {name!r:.100}")
        if "\\u" in text:
            json.dumps(pairs, ensure_ascii=False).encode()  # no unpaired surrogates
        self._at += length
        fields = [key for key, _ in pairs if key in ("dtype", "shape", "data_offsets")]
        if len(fields) != len(set(fields)):
            raise ValueError(f"a field of {name!r:.100} twice")
        return dict(pairs)

    def skip_metadata(self) -> None:
        """Check `__metadata__`: texts by name, or null as the safetensors library allows."""
        if self._text.startswith("null", self._at + len(self._space())):
            self._at += len(self._space()) + 4
            return
        for _ in self.members():
            self._string()

    def end(self) -> None:
        if found := self._peek():
            raise ValueError(f"{found!r} after its end")

    def _space(self) -> str:
        match = _SPACE.match(self._text, self._at)
        return match.group() if match else ""

    def _peek(self) -> str:
        """Skip white space and return the next character, empty at the end."""
        self._at += len(self._space())
        return self._text[self._at : self._at + 1]

    def _take(self, allowed: str) -> str:
        found = self._peek()
        if not found or found not in allowed:
            raise ValueError(f"{found!r} at character {self._at} in place of {' or '.join(allowed)}")
        self._at += 1
        return found

    def _string(self) -> str:
        if (found := self._peek()) != '"':
            raise ValueError(f"{found!r} at character {self._at} in place of a text")
        text, self._at = _DECODER.raw_decode(self._text, self._at)
        text.encode()  # no unpaired surrogates
        return text


def _tensor(path: str, name: str, entry: Mapping[str, Any], base: int) -> Tensor:
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        known = ", ".join(ITEM_SIZES)
        raise StagingError(f"the dtype of {name:.100} in {path} must be one of {known}, got {reprlib.repr(dtype)}")
    dtype = next(known for known in ITEM_SIZES if known == dtype)  # one text for all tensors
    shape, offsets = check_shape(name, entry.get("shape")), entry.get("data_offsets")
    match offsets:
        case [start, stop] if type(start) is int and type(stop) is int and start >= 0:
            tensor = Tensor(name, dtype, shape, base + start)
            if stop - start == tensor.nbytes:
                return tensor
        case _:
            pass
    raise StagingError(f"the data_offsets of {name:.100} in {path} must fit its shape, got {reprlib.repr(offsets)}")
