"""Making any range of a staged shard from ranges of the published files, hashing both on the way."""

import mmap
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from stage_model.cast import CHUNK, to_float16
from stage_model.errors import StagingError
from stage_model.shards import Shard, Slot
from stage_model.sources import Feed, Stream
from stage_model.tensors import ITEM_SIZES, WeightFile
from stage_model.views import Views, ViewWriter, total_length

_OWN_PAGES = 1 << 20  # bytes, from which buffers have pages of their own
# Linux can map all pages at once, which is faster than one by one.
_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)

Span = tuple[Slot, int, int]  # bytes [first, last) of a slot's staged bytes


class ShardReader:
    """One staged shard. Its ranges must be hashed in order, shard after shard: each file is read through once."""

    def __init__(self, shard: Shard, files: Sequence[WeightFile], watched: Sequence[Slot]) -> None:
        self._shard = shard
        self._files = files
        self._watched = watched
        self._starts = [slot.start for slot in shard.slots]
        self.size = shard.size
        own = [slot for slot in shard.slots if slot.again and slot.tensor.data is None and slot.nbytes]
        again = [Stream(again_stream(slot), slot.tensor.nbytes, None, first_stream(slot)) for slot in own]
        self.streams = (Stream(shard.path, shard.size), *again)

    def fill(self, offset: int, views: Views) -> Sequence[Feed]:
        """Fill the views with the shard's bytes from `offset` on."""
        writer, header, end = ViewWriter(views), self._shard.header, offset + total_length(views)
        writer.write(header[offset:end])
        feeds: list[Feed] = []
        spans = self._spans(max(0, offset - len(header)), max(0, end - len(header)))
        for _, run in groupby(spans, key=_reading):
            feeds += self._fill_run(list(run), writer)
        return (*feeds, Feed(self._shard.path, views))

    def _spans(self, start: int, end: int) -> Iterator[Span]:
        index = max(0, bisect_right(self._starts, start) - 1)
        while index < len(self._shard.slots) and self._shard.slots[index].start < end:
            slot = self._shard.slots[index]
            first, last = max(0, start - slot.start), min(slot.nbytes, end - slot.start)
            if first < last:
                yield slot, first, last
            index += 1

    def _fill_run(self, run: list[Span], writer: ViewWriter) -> list[Feed]:
        """Read what adjacent slots of one file need in one range, and write their staged bytes."""
        slot, first, last = run[0]
        if slot.tensor.data is not None:
            return _convert(memoryview(slot.tensor.data), slot, first, last, writer)
        low = _published(slot, first, round_up=False)
        high = _published(run[-1][0], run[-1][2], round_up=True)
        hashed = (low, high) if slot.again else (_hashed_at(slot, first), _hashed_at(run[-1][0], run[-1][2]))
        low, high = min(low, hashed[0]), max(high, hashed[1])
        buffer = _buffer(high - low)
        self._files[slot.file].source.read_into(low, [buffer])
        feeds: list[Feed] = []
        for part, start, stop in run:
            at = _published(part, start, round_up=False) - low
            feeds += _convert(buffer[at:], part, start, stop, writer, whole=False)
        return feeds + self._source_feeds(slot, first, buffer, low, hashed)

    def _source_feeds(
        self, slot: Slot, first: int, buffer: memoryview, low: int, hashed: tuple[int, int]
    ) -> list[Feed]:
        if slot.again:
            done = _published(slot, first, round_up=True) - low  # an element cut by the range before is hashed already
            return [Feed(again_stream(slot), [buffer[done:]])]
        file = self._files[slot.file]
        for known in file.known:
            a, b = max(low, known.start), min(low + len(buffer), known.start + len(known.data))
            if a < b and bytes(buffer[a - low : b - low]) != known.data[a - known.start : b - known.start]:
                raise StagingError(f"{file.path} must read the same twice, got other bytes near {a}")
        feeds = [Feed(source_stream(file), [buffer[hashed[0] - low : hashed[1] - low]])]
        for other in self._watched:
            a, b = max(hashed[0], other.tensor.start), min(hashed[1], other.tensor.end)
            if other.file == slot.file and a < b:
                feeds.append(Feed(first_stream(other), [buffer[a - low : b - low]]))
        return feeds


def source_stream(file: WeightFile) -> str:
    """Return the name of the stream of a published file's bytes."""
    return f"published {file.path}"


def first_stream(slot: Slot) -> str:
    """Return the name of the stream of a tensor's bytes as they pass by in their file."""
    return f"first reading of {slot.tensor.name}"


def again_stream(slot: Slot) -> str:
    """Return the name of the stream of a tensor's bytes, read for itself."""
    return f"second reading of {slot.tensor.name}"


def _buffer(length: int) -> memoryview:
    """Return writable memory, which goes back to the system with its last view.

    malloc would keep it for each thread, and now and then another one beside it: 10 MiB for a part that is cast.
    """
    if length < _OWN_PAGES:
        return memoryview(bytearray(length))
    return memoryview(mmap.mmap(-1, length, flags=_FLAGS))


def _reading(span: Span) -> tuple[int, str | None]:
    """Return what is equal for slots that one range of a file serves: those that follow each other in it."""
    slot = span[0]
    return slot.file, slot.tensor.name if slot.again else None


def _published(slot: Slot, at: int, round_up: bool) -> int:
    """Return the offset in the published file of the staged byte `at`, at an element's start."""
    staged, published = ITEM_SIZES[slot.dtype], ITEM_SIZES[slot.tensor.dtype]
    element = -(-at // staged) if round_up else at // staged
    return slot.tensor.start + element * published


def _hashed_at(slot: Slot, at: int) -> int:
    """Return how far the published file is hashed once the staged bytes up to `at` are made."""
    if at == 0:
        return slot.hashed_from
    return slot.hashed_to if at == slot.nbytes else _published(slot, at, round_up=True)


def _convert(
    published: memoryview, slot: Slot, first: int, last: int, writer: ViewWriter, whole: bool = True
) -> list[Feed]:
    """Write staged bytes [first, last) of a slot. `published` begins with the tensor if `whole`, else with `first`."""
    if slot.dtype == slot.tensor.dtype:
        base = first if whole else first % ITEM_SIZES[slot.dtype]
        writer.write(published[base : base + last - first])
        return []
    element, stop = first // 2, -(-last // 2)
    values = np.frombuffer(published, "<f4", stop - element, element * 4 if whole else 0)
    skip, lossless = first % 2, True
    for at in range(0, len(values), CHUNK):
        halves, same = to_float16(values[at : at + CHUNK])
        lossless = lossless and same
        data = memoryview(halves.data).cast("B")[skip:]
        writer.write(data[: last - first])
        first, skip = first + min(len(data), last - first), 0
    return [] if lossless else [Feed("", (), lossy=slot.tensor.name)]
