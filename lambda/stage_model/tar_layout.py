"""The tar stream, known from names and sizes alone: which bytes are headers and padding, which are a file's."""

import tarfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stage_model.errors import StagingError


@dataclass(frozen=True)
class Member:
    """A regular file of the archive: path within it and size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class Piece:
    """A run of bytes: `start` and `length` in the stream; either `literal` bytes or bytes of a member from `offset`."""

    start: int
    length: int
    literal: bytes | None = None
    member: int = -1
    offset: int = 0

    def cut(self, start: int, stop: int) -> "Piece":
        """Return the part of this piece that lies in [start, stop) of the stream."""
        low, high = max(start, self.start), min(stop, self.start + self.length)
        skipped = low - self.start
        if self.literal is None:
            return Piece(low, high - low, None, self.member, self.offset + skipped)
        return Piece(low, high - low, self.literal[skipped : skipped + high - low])


class TarLayout:
    """The stream of a POSIX tar archive with these members, in order. Sizes of 8 GiB and more take PAX records."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._pieces: list[Piece] = []
        self.size = 0
        self.member_starts: list[int] = []
        for index, member in enumerate(members):
            self._literal(_header(member))
            self.member_starts.append(self.size)
            self._append(Piece(self.size, member.size, None, index, 0))
            self._literal(bytes(-member.size % tarfile.BLOCKSIZE))
        end = 2 * tarfile.BLOCKSIZE
        self._literal(bytes(end + -(self.size + end) % tarfile.RECORDSIZE))
        self._starts = [piece.start for piece in self._pieces]

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield the pieces of [start, stop) of the stream, in order and without gaps."""
        index = bisect_right(self._starts, start) - 1
        while start < stop and index < len(self._pieces):
            piece = self._pieces[index].cut(start, stop)
            yield piece
            start += piece.length
            index += 1

    def _literal(self, data: bytes) -> None:
        self._append(Piece(self.size, len(data), data))

    def _append(self, piece: Piece) -> None:
        if piece.length:
            self._pieces.append(piece)
            self.size += piece.length


def _header(member: Member) -> bytes:
    info = tarfile.TarInfo(member.path)
    info.size = member.size
    info.mode = 0o644
    info.mtime = 0
    try:
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
    except ValueError as error:
        raise StagingError(f"{member.path!r} cannot be a tar member: {error}") from error
