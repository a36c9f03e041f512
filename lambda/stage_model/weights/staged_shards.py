"""Staged safetensors shards: which tensors are cast, where they lie, and how any range is built from published files.

Tensors keep the order of the published files, so that these are read once from start to end and hashed on the way.
"""

import json
import mmap
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from stage_model.errors import StagingError
from stage_model.http import ViewCursor
from stage_model.source.byte_source import HashUpdate, Stream, Views, total_length
from stage_model.weights.safetensors_header import ITEM_SIZES, Tensor, WeightFile
from stage_model.weights.skipped_bytes import SkippedBytes, check_known

if TYPE_CHECKING:  # a run that casts nothing, such as a deletion, need not load numpy
    import numpy as np
    from numpy.typing import NDArray

MAX_SHARD = 4_000_000_000  # bytes: below the limits of plain ustar headers and 32-bit tools
MAX_GAPS = 16 << 20  # bytes of all files outside tensors, read only to be hashed: they may all fall into one part
_MAX_REREAD = 1000  # tensors that share bytes with others; each costs two hash streams, MusicGen has two
_MAX_NAMES = 4 << 20  # bytes; MusicGen has 80 kB
_METADATA = "__metadata__"
_CAST_CHUNK = 1 << 17  # elements: half a MiB in and a quarter out fit a core's cache
_MMAP_THRESHOLD = 1 << 20  # bytes
# MAP_POPULATE (Linux) maps all pages at once, which is faster than one fault per page.
_MMAP_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
# The decoder was published in fp16 and upcast. T5 overflows in fp16, and EnCodec is small: both keep their types.
DECODER = "decoder."

Span = tuple["Slot", int, int]  # bytes [first, last) of a slot's staged bytes


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor in its shard: `start` and `nbytes` of its staged bytes after the header, `dtype` as staged.

    `file` is the index of its published file, which is hashed up to byte `hashed_from` before this tensor and up to
    `hashed_to` after it. A `reread` slot takes its bytes from a range that another slot covers too.
    """

    tensor: Tensor
    dtype: str
    start: int
    file: int
    hashed_from: int
    hashed_to: int
    reread: bool

    @property
    def nbytes(self) -> int:
        """The staged size in bytes."""
        return self.tensor.count * ITEM_SIZES[self.dtype]

    @property
    def after_gap(self) -> bool:
        """Whether bytes that no tensor covers come before it."""
        return self.hashed_from < self.tensor.start


@dataclass(frozen=True)
class Shard:
    """A staged safetensors file: its name, header and tensors."""

    path: str
    header: bytes
    slots: Sequence[Slot]

    @property
    def size(self) -> int:
        return len(self.header) + sum(slot.nbytes for slot in self.slots)


def staged_dtype(tensor: Tensor, decoder_dtype: str, keep_float32: Collection[str]) -> str:
    """Return the dtype in which a tensor is staged, in safetensors' notation."""
    castable = tensor.dtype == "F32" and tensor.name.startswith(DECODER) and tensor.name not in keep_float32
    return "F16" if decoder_dtype == "float16" and castable else tensor.dtype


def make_shards(
    files: Sequence[WeightFile], decoder_dtype: str, keep_float32: Collection[str], max_shard: int = MAX_SHARD
) -> list[Shard]:
    """Return shards of at most `max_shard` bytes with the tensors of all files; a larger tensor gets its own shard.

    Raises StagingError for names that a shard cannot hold, for too many bytes that are not tensors', and for too many
    tensors that share bytes.
    """
    keep_float32 = frozenset(keep_float32)
    check_names(files)
    slots = [slot for index, file in enumerate(files) for slot in _slots(index, file, decoder_dtype, keep_float32)]
    whole = [index for index, file in enumerate(files) if not file.selected]
    staged = sum(s.tensor.nbytes for s in slots if not s.reread and s.file in whole)
    other = sum(files[index].source.size for index in whole) - staged
    if other > MAX_GAPS:
        names = ", ".join(files[index].path for index in whole[:3])
        raise StagingError(
            f"the weights ({names}) must hold at most {MAX_GAPS} bytes that are not tensors', got {other}"
        )
    if (shared := sum(slot.reread and slot.nbytes > 0 for slot in slots)) > _MAX_REREAD:
        raise StagingError(f"at most {_MAX_REREAD} tensors may share bytes with others, got {shared}")
    groups = list(_group(slots, max_shard))
    if len(groups) == 1:
        return [_shard("model.safetensors", groups[0])]
    return [
        _shard(f"model-{number:05d}-of-{len(groups):05d}.safetensors", group)
        for number, group in enumerate(groups, start=1)
    ]


def check_names(files: Sequence[WeightFile]) -> None:
    """Raise StagingError unless every tensor of all files has a name of its own that a safetensors file can hold.

    Their total length is bounded: the record of the request holds those of tensors that keep float32.
    """
    names, total = set[str](), 0
    for file in files:
        for tensor in file.tensors:
            if tensor.name in names:
                raise StagingError(f"the weights must name every tensor once, got twice: {tensor.name:.100}")
            if tensor.name == _METADATA:
                raise StagingError(f"no tensor may be named {_METADATA}, got one in {file.path}")
            names.add(tensor.name)
            total += len(json.dumps(tensor.name))
    if total > _MAX_NAMES:
        raise StagingError(f"the names of all tensors must take at most {_MAX_NAMES} bytes as JSON, got {total}")


def reread_slots(shards: Sequence[Shard]) -> list[Slot]:
    """Return the slots whose published bytes are read twice."""
    return [slot for shard in shards for slot in shard.slots if slot.reread and slot.tensor.data is None]


def shard_index(shards: Sequence[Shard]) -> bytes:
    """Return `model.safetensors.index.json` for these shards."""
    weight_map = {slot.tensor.name: shard.path for shard in shards for slot in shard.slots}
    total = sum(slot.nbytes for shard in shards for slot in shard.slots)
    document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return json.dumps(document, indent=1).encode() + b"\n"


def _slots(index: int, file: WeightFile, decoder_dtype: str, keep_float32: Collection[str]) -> Iterator[Slot]:
    """Yield a file's tensors: first those that cover new bytes, by offset, then views of bytes already covered."""
    ordered = sorted(file.tensors, key=lambda tensor: (tensor.start, -tensor.nbytes))
    fresh, reread, end = list[Tensor](), list[Tensor](), 0
    for tensor in ordered:
        covers_new = tensor.data is None and tensor.nbytes > 0 and tensor.start >= end
        (fresh if covers_new else reread).append(tensor)
        end = tensor.end if covers_new else end
    if not fresh:
        raise StagingError(f"{file.path} must hold tensors with elements in row-major order, got none")
    ends = [0, *(tensor.end for tensor in fresh[:-1]), file.source.size]
    for place, tensor in enumerate(fresh):
        dtype = staged_dtype(tensor, decoder_dtype, keep_float32)
        yield Slot(tensor, dtype, 0, index, hashed_from=ends[place], hashed_to=ends[place + 1], reread=False)
    for tensor in reread:
        yield Slot(tensor, staged_dtype(tensor, decoder_dtype, keep_float32), 0, index, 0, 0, reread=True)


def _group(slots: Sequence[Slot], max_shard: int) -> Iterator[list[Slot]]:
    group, size = list[Slot](), 0
    for slot in slots:
        # The header counts too: an entry takes less than 200 bytes plus the name.
        nbytes = slot.nbytes + 200 + len(slot.tensor.name.encode())
        if group and size + nbytes > max_shard:
            yield group
            group, size = [], 0
        group.append(slot)
        size += nbytes
    yield group


def _shard(path: str, group: Sequence[Slot]) -> Shard:
    slots, at = list[Slot](), 0
    for slot in group:
        slots.append(replace(slot, start=at))
        at += slot.nbytes
    text = bytearray(8) + json.dumps({_METADATA: {"format": "pt"}}, separators=(",", ":")).encode()[:-1]
    for slot in slots:  # one by one: all entries as dictionaries would take several times the text
        where = {
            "dtype": slot.dtype,
            "shape": slot.tensor.shape,
            "data_offsets": [slot.start, slot.start + slot.nbytes],
        }
        text += b"," + json.dumps({slot.tensor.name: where}, separators=(",", ":")).encode()[1:-1]
    text += b"}"
    text += b" " * (-len(text) % 8)
    text[:8] = (len(text) - 8).to_bytes(8, "little")
    return Shard(path, bytes(text), slots)


class ShardReader:
    """Reads one staged shard. Its hash updates must be applied in order, shard after shard.

    `reread` are the slots of all shards whose bytes are read twice, so that both readings can be compared.
    """

    def __init__(self, shard: Shard, files: Sequence[WeightFile], reread: Sequence[Slot]) -> None:
        self._shard = shard
        self._files = files
        self._reread = reread
        self._starts = [slot.start for slot in shard.slots]
        self.size = shard.size
        again = [slot for slot in reread_slots([shard]) if slot.nbytes]
        twins = [Stream(_reread_stream(slot), slot.tensor.nbytes, None, first_stream(slot)) for slot in again]
        self.streams = (Stream(shard.path, shard.size), *twins)

    def fill(self, offset: int, views: Views) -> Sequence[HashUpdate]:
        writer, header, end = ViewCursor(views), self._shard.header, offset + total_length(views)
        writer.write(header[offset:end])
        updates: list[HashUpdate] = []
        spans = self._spans(max(0, offset - len(header)), max(0, end - len(header)))
        # One range of a file covers consecutive slots, except for those that are read again.
        for _, run in groupby(spans, key=self._run_of):
            updates += self._fill_run(list(run), writer)
        return (*updates, HashUpdate(self._shard.path, views))

    def _spans(self, start: int, end: int) -> Iterator[Span]:
        index = max(0, bisect_right(self._starts, start) - 1)
        while index < len(self._shard.slots) and self._shard.slots[index].start < end:
            slot = self._shard.slots[index]
            first, last = max(0, start - slot.start), min(slot.nbytes, end - slot.start)
            if first < last:
                yield slot, first, last
            index += 1

    def _run_of(self, span: Span) -> object:
        """Return a key that consecutive slots share if one range covers them and little else."""
        slot = span[0]
        alone = slot.reread or (self._files[slot.file].selected and slot.after_gap)
        return slot.file, slot.tensor.name if alone else None

    def _fill_run(self, run: list[Span], writer: ViewCursor) -> list[HashUpdate]:
        """Read the bytes of adjacent slots of one file in one range, and write their staged bytes."""
        slot, first, last = run[0]
        if slot.tensor.data is not None:
            offset = _published(slot, first, round_up=False) - slot.tensor.start
            return _convert(memoryview(slot.tensor.data)[offset:], slot, first, last, writer)
        low = _published(slot, first, round_up=False)
        high = _published(run[-1][0], run[-1][2], round_up=True)
        hashed = (low, high) if slot.reread else (_hashed_at(slot, first), _hashed_at(run[-1][0], run[-1][2]))
        before, after = list[HashUpdate](), list[HashUpdate]()
        if (file := self._files[slot.file]).selected and not slot.reread:  # what is around it may not fit the memory
            inner = max(low, hashed[0]), min(high, hashed[1])
            before, after = _skipped(file, hashed[0], inner[0]), _skipped(file, inner[1], hashed[1])
            hashed = inner
        low, high = min(low, hashed[0]), max(high, hashed[1])
        buffer = _buffer(high - low)
        self._files[slot.file].source.read_into(low, [buffer])
        updates: list[HashUpdate] = []
        for part, start, stop in run:
            at = _published(part, start, round_up=False) - low
            updates += _convert(buffer[at:], part, start, stop, writer)
        return [*updates, *before, *self._source_updates(slot, first, buffer, low, hashed), *after]

    def _source_updates(
        self, slot: Slot, first: int, buffer: memoryview, low: int, hashed: tuple[int, int]
    ) -> list[HashUpdate]:
        if slot.reread:
            done = _published(slot, first, round_up=True) - low  # an element split between ranges is hashed already
            return [HashUpdate(_reread_stream(slot), [buffer[done:]])]
        file = self._files[slot.file]
        check_known(file, low, buffer)
        updates = [HashUpdate(source_stream(file), [buffer[hashed[0] - low : hashed[1] - low]])]
        for other in self._reread:
            a, b = max(hashed[0], other.tensor.start), min(hashed[1], other.tensor.end)
            if other.file == slot.file and a < b:
                updates.append(HashUpdate(first_stream(other), [buffer[a - low : b - low]]))
        return updates


# Stream names are stored in journals: a rename would break runs in progress.


def source_stream(file: WeightFile) -> str:
    return f"published {file.path}"


def first_stream(slot: Slot) -> str:
    return f"first reading of {slot.tensor.name}"


def _reread_stream(slot: Slot) -> str:
    return f"second reading of {slot.tensor.name}"


def _skipped(file: WeightFile, start: int, stop: int) -> list[HashUpdate]:
    return [HashUpdate(source_stream(file), SkippedBytes(file, start, stop))] if start < stop else []


def _buffer(length: int) -> memoryview:
    """Return writable memory that is returned to the system with its last view.

    malloc would keep it per thread, 10 MiB for a part that is cast, sometimes twice.
    """
    if length < _MMAP_THRESHOLD:
        return memoryview(bytearray(length))
    return memoryview(mmap.mmap(-1, length, flags=_MMAP_FLAGS))


def _published(slot: Slot, at: int, round_up: bool) -> int:
    """Return the offset in the published file of the element that holds staged byte `at`."""
    staged, published = ITEM_SIZES[slot.dtype], ITEM_SIZES[slot.tensor.dtype]
    element = -(-at // staged) if round_up else at // staged
    return slot.tensor.start + element * published


def _hashed_at(slot: Slot, at: int) -> int:
    """Return up to which offset the published file is hashed once the staged bytes up to `at` are built."""
    if at == 0:
        return slot.hashed_from
    return slot.hashed_to if at == slot.nbytes else _published(slot, at, round_up=True)


def _convert(published: memoryview, slot: Slot, first: int, last: int, writer: ViewCursor) -> list[HashUpdate]:
    """Write staged bytes [first, last) of a slot, given the published bytes from the element that holds `first` on."""
    if slot.dtype == slot.tensor.dtype:
        base = first % ITEM_SIZES[slot.dtype]
        writer.write(published[base : base + last - first])
        return []
    import numpy as np

    values = np.frombuffer(published, "<f4", -(-last // 2) - first // 2)
    skip, lossless = first % 2, True
    for at in range(0, len(values), _CAST_CHUNK):
        halves, same = _to_float16(values[at : at + _CAST_CHUNK])
        lossless = lossless and same
        data = memoryview(halves.data).cast("B")[skip:]
        writer.write(data[: last - first])
        first, skip = first + min(len(data), last - first), 0
    return [] if lossless else [HashUpdate("", (), lossy=slot.tensor.name)]


def _to_float16(values: "NDArray[np.float32]") -> "tuple[NDArray[np.float16], bool]":
    """Return the values, of shape [n], rounded to nearest, and whether they convert back bit for bit (NaN included)."""
    import numpy as np

    with np.errstate(all="ignore"):  # the comparison detects overflow and underflow
        halves = values.astype("<f2")
    return halves, bool(np.array_equal(halves.astype("<f4").view("<u4"), values.view("<u4")))
