"""Where staged bytes come from, as the rest of the stager sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stage_model.views import Views, scatter, total_length


class Source(Protocol):
    """A published file: immutable bytes of known size, read by ranges."""

    @property
    def size(self) -> int:
        """The file's length in bytes."""
        ...

    def read_into(self, offset: int, views: Views) -> None:
        """Fill the views with the bytes from `offset` on. Raises StagingError or OutOfTimeError."""
        ...


@dataclass(frozen=True)
class BytesSource:
    """Bytes held in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """The length in bytes."""
        return len(self.data)

    def read_into(self, offset: int, views: Views) -> None:
        """Copy from `offset` on."""
        scatter(self.data[offset : offset + total_length(views)], views)


@dataclass(frozen=True)
class Feed:
    """Bytes that continue the stream `stream`, for its running SHA-256; or the name of a tensor whose cast is lossy."""

    stream: str
    views: Views
    lossy: str | None = None


@dataclass(frozen=True)
class Stream:
    """Bytes that are hashed in order: `length` in bytes, the SHA-256 that they must have if it is known.

    `twin` names a stream that must turn out equal: the same source bytes, read another time.
    """

    name: str
    length: int
    sha256: str | None = None
    twin: str | None = None


class Reader(Protocol):
    """Makes the bytes of one staged file, any range of them in any order."""

    @property
    def size(self) -> int:
        """The staged file's length in bytes."""
        ...

    @property
    def streams(self) -> Sequence[Stream]:
        """What the feeds of this reader belong to; the first one is the staged file itself."""
        ...

    def fill(self, offset: int, views: Views) -> Sequence[Feed]:
        """Fill the views with the staged bytes from `offset` on; return what is to be hashed, in order."""
        ...


class CopyReader:
    """A file staged as it was published."""

    def __init__(self, path: str, source: Source, sha256: str | None) -> None:
        self._source = source
        self.streams = (Stream(path, source.size, sha256),)

    @property
    def size(self) -> int:
        """The file's length in bytes."""
        return self._source.size

    def fill(self, offset: int, views: Views) -> Sequence[Feed]:
        """Copy; the published bytes are the staged ones, so one stream proves both."""
        self._source.read_into(offset, views)
        return (Feed(self.streams[0].name, views),)
