"""The objects to be made in S3, cut into parts that can each be built alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from stage_model.errors import StagingError
from stage_model.gzip_frame import BLOCK, GzipFraming
from stage_model.plain_frame import FileLayout, PlainFraming
from stage_model.tar_layout import Member, Piece, TarLayout

PART_BLOCKS = 128  # 8 MiB parts: eight of them in flight take 64 MiB
CAST_PART_BLOCKS = 81  # 5.06 MiB, just above the 5 MiB that S3 demands: a cast holds twice as much of its source
_MAX_PARTS = 10_000  # S3's limit


class Framing(Protocol):
    """How an object's payload lies in its bytes."""

    def framed_length(self, payload_length: int, first: bool, last: bool) -> int:
        """Return a part's length in bytes once framed."""
        ...

    def write_headers(self, frame: memoryview, payload_length: int, first: bool) -> None:
        """Write what does not depend on the payload's bytes."""
        ...

    def payload_views(self, frame: memoryview, start: int, length: int, first: bool) -> Iterator[memoryview]:
        """Yield where payload bytes of the part lie in `frame`, in order."""
        ...

    def blocks(self, frame: memoryview, payload_length: int, first: bool) -> Iterator[tuple[memoryview, memoryview]]:
        """Yield the stretches of `frame` in order, in twos: what frames, what is payload."""
        ...

    def trailer(self, payload_crc: int, payload_length: int) -> bytes:
        """Return what follows the last part's payload."""
        ...


class Layout(Protocol):
    """An object's payload: which bytes are literal, which a file's."""

    @property
    def size(self) -> int:
        """The payload's length in bytes."""
        ...

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield the pieces of [start, stop) of the payload."""
        ...


@dataclass(frozen=True)
class Part:
    """Payload bytes [start, stop) of an object; `number` is S3's, from 1."""

    number: int
    start: int
    stop: int
    last: bool

    @property
    def first(self) -> bool:
        """Whether the object begins with this part."""
        return self.number == 1


@dataclass(frozen=True)
class StagedObject:
    """An object to be made: key, payload, framing and parts."""

    key: str
    layout: Layout
    framing: Framing
    parts: Sequence[Part]

    @property
    def size(self) -> int:
        """The object's length in bytes."""
        return sum(self.framed_length(part) for part in self.parts)

    def framed_length(self, part: Part) -> int:
        """Return a part's length in S3, in bytes."""
        return self.framing.framed_length(part.stop - part.start, part.first, part.last)


def tarball(key: str, members: Sequence[Member], part_blocks: int = PART_BLOCKS) -> StagedObject:
    """Return `model.tar.gz` with these members.

    The last part holds the last member (the manifest, known last) whole, the archive's end and the gzip trailer,
    because S3 refuses small parts anywhere else.
    """
    layout = TarLayout(members)
    blocks = max(part_blocks, -(-layout.size // (BLOCK * (_MAX_PARTS - 1))))
    parts = cut(layout.size, blocks * BLOCK, layout.member_starts[-1])
    return StagedObject(key, layout, GzipFraming(), parts)


def separate_files(prefix: str, members: Sequence[Member], part_blocks: int = PART_BLOCKS) -> list[StagedObject]:
    """Return one object per member under `prefix`, uncompressed: what a `ModelDataSource` prefix serves."""
    objects: list[StagedObject] = []
    for index, member in enumerate(members):
        span = max(part_blocks * BLOCK, -(-member.size // (_MAX_PARTS - 1)))
        last = index == len(members) - 1  # the manifest, known last: one part
        parts = cut(member.size, span, 0 if last else max(0, member.size - 1))
        objects.append(StagedObject(prefix + member.path, FileLayout(index, member.size), PlainFraming(), parts))
    return objects


def cut(size: int, span: int, whole_from: int) -> list[Part]:
    """Cut `size` bytes into parts of `span`; bytes from `whole_from` on all lie in the last one."""
    starts = range(0, whole_from + 1, span)
    stops = [*starts[1:], size]
    if len(starts) > _MAX_PARTS:
        raise StagingError(f"an object must have at most {_MAX_PARTS} parts, got {len(starts)}")
    pairs = enumerate(zip(starts, stops, strict=True), start=1)
    return [Part(number, start, stop, number == len(starts)) for number, (start, stop) in pairs]
