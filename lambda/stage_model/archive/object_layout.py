"""The objects in S3, cut into parts that can each be built alone because every byte's place is known in advance.

A tarball is one gzip member of stored deflate blocks (RFC 1951 §3.2.4, RFC 1952) around a POSIX tar stream. Readers
fill the framed buffer directly. One member, since Java's GZIPInputStream may stop after the first of several and
Python's `r|gz` rejects them; no compression, since level 9 is over fifty times slower for a few percent. Uncompressed
objects have the same interface.
"""

import struct
import tarfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stage_model.errors import StagingError

BLOCK = 65535  # bytes: the longest stored block
PART_BLOCKS = 128  # 8 MiB parts: eight in flight take 64 MiB
CAST_PART_BLOCKS = 81  # 5.06 MiB, just over S3's minimum of 5 MiB: a cast holds twice as much of its source
PARTS_IN_FLIGHT = 8  # one per thread
_MAX_PARTS = 10_000  # S3's limit
_BLOCK_HEADER = 5  # bytes: final flag and type, length, its complement
_GZIP_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])  # no name, time or system: reproducible
_LAST_BLOCK = b"\x01\x00\x00\xff\xff"  # empty, marked final
_TRAILER = 8  # bytes: CRC-32 and length of the payload


@dataclass(frozen=True)
class Member:
    """A regular file of the archive: path and size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class Segment:
    """Bytes [start, start + length) of a payload: `literal`, or from byte `offset` of member number `member`."""

    start: int
    length: int
    literal: bytes | None = None
    member: int = -1
    offset: int = 0

    def clip(self, start: int, stop: int) -> "Segment":
        """Return the intersection with [start, stop) of the payload."""
        low, high = max(start, self.start), min(stop, self.start + self.length)
        skipped = low - self.start
        if self.literal is None:
            return Segment(low, high - low, None, self.member, self.offset + skipped)
        return Segment(low, high - low, self.literal[skipped : skipped + high - low])


class TarLayout:
    """The tar stream of these members, in order; `size` in bytes. Sizes of 8 GiB and more take PAX records."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._segments: list[Segment] = []
        self.size = 0
        self.member_starts: list[int] = []
        for index, member in enumerate(members):
            self._append_literal(_tar_header(member))
            self.member_starts.append(self.size)
            self._append(Segment(self.size, member.size, None, index, 0))
            self._append_literal(bytes(-member.size % tarfile.BLOCKSIZE))
        end = 2 * tarfile.BLOCKSIZE
        self._append_literal(bytes(end + -(self.size + end) % tarfile.RECORDSIZE))
        self._starts = [segment.start for segment in self._segments]

    def segments(self, start: int, stop: int) -> Iterator[Segment]:
        """Yield [start, stop) of the stream, in order and without gaps."""
        index = bisect_right(self._starts, start) - 1
        while start < stop and index < len(self._segments):
            segment = self._segments[index].clip(start, stop)
            yield segment
            start += segment.length
            index += 1

    def _append_literal(self, data: bytes) -> None:
        self._append(Segment(self.size, len(data), data))

    def _append(self, segment: Segment) -> None:
        if segment.length:
            self._segments.append(segment)
            self.size += segment.length


def _tar_header(member: Member) -> bytes:
    info = tarfile.TarInfo(member.path)
    info.size, info.mode, info.mtime = member.size, 0o644, 0
    try:
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
    except ValueError as error:
        raise StagingError(f"{member.path!r} cannot be a tar member: {error}") from error


@dataclass(frozen=True)
class FileLayout:
    """The payload of an object that is one file: number `member` of the staged model, `size` bytes."""

    member: int
    size: int

    def segments(self, start: int, stop: int) -> Iterator[Segment]:
        if start < stop:
            yield Segment(start, stop - start, None, self.member, start)


class GzipFraming:
    """Frames parts of a payload as parts of one gzip member; the first has the header, the last the trailer."""

    def framed_length(self, payload_length: int, first: bool, last: bool) -> int:
        """Return a part's length once framed, in bytes."""
        blocks = -(-payload_length // BLOCK)
        ends = len(_GZIP_HEADER) * first + (len(_LAST_BLOCK) + _TRAILER) * last
        return payload_length + _BLOCK_HEADER * blocks + ends

    def write_headers(self, frame: memoryview, payload_length: int, first: bool) -> None:
        """Write into `frame` everything but payload and trailer."""
        base = len(_GZIP_HEADER) if first else 0
        frame[:base] = _GZIP_HEADER[:base]
        for start in range(0, payload_length, BLOCK):
            length = min(BLOCK, payload_length - start)
            at = base + start // BLOCK * (BLOCK + _BLOCK_HEADER)
            struct.pack_into("<BHH", frame, at, 0, length, length ^ 0xFFFF)

    def payload_views(self, frame: memoryview, start: int, length: int, first: bool) -> Iterator[memoryview]:
        """Yield the places in `frame` of payload bytes [start, start + length) of the part, in order."""
        base = len(_GZIP_HEADER) if first else 0
        while length:
            block, within = divmod(start, BLOCK)
            count = min(BLOCK - within, length)
            at = base + block * (BLOCK + _BLOCK_HEADER) + _BLOCK_HEADER + within
            yield frame[at : at + count]
            start += count
            length -= count

    def blocks(self, frame: memoryview, payload_length: int, first: bool) -> Iterator[tuple[memoryview, memoryview]]:
        """Yield a part's blocks as pairs of framing and payload."""
        at = 0
        for payload in self.payload_views(frame, 0, payload_length, first):
            start = at + _BLOCK_HEADER + len(_GZIP_HEADER) * (first and not at)
            yield frame[at:start], payload
            at = start + len(payload)

    def trailer(self, payload_crc: int, payload_length: int) -> bytes:
        """Return the end of the member: the final empty block, the CRC-32 and the length modulo 2³²."""
        return _LAST_BLOCK + struct.pack("<II", payload_crc, payload_length & 0xFFFFFFFF)


class PlainFraming:
    """The identity, for files staged uncompressed."""

    def framed_length(self, payload_length: int, first: bool, last: bool) -> int:
        return payload_length

    def write_headers(self, frame: memoryview, payload_length: int, first: bool) -> None:
        pass

    def payload_views(self, frame: memoryview, start: int, length: int, first: bool) -> Iterator[memoryview]:
        if length:
            yield frame[start : start + length]

    def blocks(self, frame: memoryview, payload_length: int, first: bool) -> Iterator[tuple[memoryview, memoryview]]:
        for start in range(0, payload_length, BLOCK):
            yield frame[:0], frame[start : min(start + BLOCK, payload_length)]

    def trailer(self, payload_crc: int, payload_length: int) -> bytes:
        return b""


@dataclass(frozen=True)
class Part:
    """Payload bytes [start, stop) of an object; `number` is S3's, from 1."""

    number: int
    start: int
    stop: int
    last: bool

    @property
    def first(self) -> bool:
        return self.number == 1


@dataclass(frozen=True)
class StagedObject:
    """An object to upload: key, payload, framing and parts."""

    key: str
    layout: TarLayout | FileLayout
    framing: GzipFraming | PlainFraming
    parts: Sequence[Part]

    @property
    def size(self) -> int:
        return sum(self.framed_length(part) for part in self.parts)

    def framed_length(self, part: Part) -> int:
        return self.framing.framed_length(part.stop - part.start, part.first, part.last)


def tarball_object(key: str, members: Sequence[Member], part_blocks: int = PART_BLOCKS) -> StagedObject:
    """Return `model.tar.gz` with these members.

    The last part holds the last member (the manifest, which is known last) whole, the end of the archive and the gzip
    trailer, because S3 accepts a small part in no other place.
    """
    layout = TarLayout(members)
    parts = split_into_parts(layout.size, part_blocks * BLOCK, layout.member_starts[-1])
    return StagedObject(key, layout, GzipFraming(), parts)


def file_objects(prefix: str, members: Sequence[Member], part_blocks: int = PART_BLOCKS) -> list[StagedObject]:
    """Return one uncompressed object per member under `prefix`, for a `ModelDataSource` of type S3Prefix."""
    objects: list[StagedObject] = []
    for index, member in enumerate(members):
        is_manifest = index == len(members) - 1  # known last: one part
        parts = split_into_parts(member.size, part_blocks * BLOCK, 0 if is_manifest else max(0, member.size - 1))
        objects.append(StagedObject(prefix + member.path, FileLayout(index, member.size), PlainFraming(), parts))
    return objects


def split_into_parts(size: int, span: int, whole_from: int) -> list[Part]:
    """Split `size` bytes into parts of `span`; the last one holds all bytes from `whole_from` on.

    Raises StagingError for more parts than S3 allows: larger ones would take more memory than a run may use.
    """
    starts = range(0, whole_from + 1, span)
    stops = [*starts[1:], size]
    if len(starts) > _MAX_PARTS:
        raise StagingError(f"an object must have at most {_MAX_PARTS} parts of {span} bytes, got {size} bytes")
    ranges = enumerate(zip(starts, stops, strict=True), start=1)
    return [Part(number, start, stop, number == len(starts)) for number, (start, stop) in ranges]
