"""Byte ranges of published and staged files, and the hash streams that they feed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stage_model.http import ViewCursor

Views = Sequence[memoryview]  # a destination scattered over memory: a payload's places in a framed part


def total_length(views: Views) -> int:
    """Return the combined length of the views in bytes."""
    return sum(map(len, views))


def scatter(data: bytes | memoryview, views: Views) -> None:
    """Copy `data` into the views, whose combined length it must have."""
    cursor = ViewCursor(views)
    cursor.write(data)
    if cursor.next_view() is not None:
        raise ValueError(f"{len(data)} bytes must fill {total_length(views)}")


class Source(Protocol):
    """A published file: immutable bytes, read by range; `size` in bytes."""

    @property
    def size(self) -> int: ...

    def read_into(self, offset: int, views: Views) -> None:
        """Fill the views with the bytes from `offset` on. Raises StagingError or OutOfTimeError."""
        ...


@dataclass(frozen=True)
class BytesSource:
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, views: Views) -> None:
        scatter(memoryview(self.data)[offset : offset + total_length(views)], views)


@dataclass(frozen=True)
class Stream:
    """A byte sequence that is hashed in order: `length` in bytes, and the expected SHA-256 if known.

    `twin` names a stream of the same source bytes, read at another time, whose digest must be equal.
    """

    name: str
    length: int
    sha256: str | None = None
    twin: str | None = None


@dataclass(frozen=True)
class HashUpdate:
    """The next bytes of a stream; or, in `lossy`, the name of a tensor that float16 cannot represent exactly.

    Views that are not in memory are read when they are hashed.
    """

    stream: str
    views: Iterable[memoryview]
    lossy: str | None = None


class Reader(Protocol):
    """Produces the bytes of one staged file, any range in any order; `size` in bytes.

    The first of `streams` is the staged file itself.
    """

    @property
    def size(self) -> int: ...

    @property
    def streams(self) -> Sequence[Stream]: ...

    def fill(self, offset: int, views: Views) -> Sequence[HashUpdate]:
        """Fill the views with the staged bytes from `offset` on; return what must be hashed, in order."""
        ...


class CopyReader:
    """A file staged as published: one stream verifies both."""

    def __init__(self, path: str, source: Source, sha256: str | None) -> None:
        self._source = source
        self.size = source.size
        self.streams = (Stream(path, source.size, sha256),)

    def fill(self, offset: int, views: Views) -> Sequence[HashUpdate]:
        self._source.read_into(offset, views)
        return (HashUpdate(self.streams[0].name, views),)
