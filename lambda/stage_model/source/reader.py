"""Byte ranges of published and staged files, and the hash streams that they feed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Views = Sequence[memoryview]  # a destination scattered over memory: a payload's places in a framed part


def total_length(views: Views) -> int:
    """Return the combined length of the views in bytes."""
    return sum(map(len, views))


def scatter(data: bytes | memoryview, views: Views) -> None:
    """Copy `data` into the views, whose combined length it must have."""
    at = 0
    for view in views:
        view[:] = data[at : at + len(view)]
        at += len(view)


class ViewWriter:
    """Writes sequentially into a sequence of views."""

    def __init__(self, views: Views) -> None:
        self._rest = iter(views)
        self._view = next(self._rest, memoryview(b""))

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`, for which there must be room."""
        at = 0
        while at < len(data):
            while not len(self._view):
                self._view = next(self._rest)
            count = min(len(self._view), len(data) - at)
            self._view[:count] = data[at : at + count]
            self._view = self._view[count:]
            at += count


class Source(Protocol):
    """A published file: immutable bytes, read by range; `size` in bytes."""

    @property
    def size(self) -> int: ...

    def read_into(self, offset: int, views: Views) -> None:
        """Fill the views with the bytes from `offset` on. Raises StagingError or OutOfTimeError."""
        ...


@dataclass(frozen=True)
class BytesSource:
    """A source in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, views: Views) -> None:
        scatter(self.data[offset : offset + total_length(views)], views)


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
    """The next bytes of a stream; or, in `lossy`, the name of a tensor that float16 cannot represent exactly."""

    stream: str
    views: Views
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
