"""No framing: an object's bytes are its payload."""

from collections.abc import Iterator

from stage_model.gzip_frame import BLOCK
from stage_model.tar_layout import Piece


class PlainFraming:
    """The framing of files that are staged uncompressed."""

    def framed_length(self, payload_length: int, first: bool, last: bool) -> int:
        """Return a part's length in bytes: the payload's."""
        return payload_length

    def write_headers(self, frame: memoryview, payload_length: int, first: bool) -> None:
        """Write nothing."""

    def payload_views(self, frame: memoryview, start: int, length: int, first: bool) -> Iterator[memoryview]:
        """Yield the one place of payload bytes [start, start + length)."""
        if length:
            yield frame[start : start + length]

    def blocks(self, frame: memoryview, payload_length: int, first: bool) -> Iterator[tuple[memoryview, memoryview]]:
        """Yield a part in pieces that nothing frames."""
        for start in range(0, payload_length, BLOCK):
            yield frame[:0], frame[start : min(start + BLOCK, payload_length)]

    def trailer(self, payload_crc: int, payload_length: int) -> bytes:
        """Return nothing."""
        return b""


class FileLayout:
    """The payload of an object that is one file: member `member` of the staged model, `size` bytes."""

    def __init__(self, member: int, size: int) -> None:
        self._member = member
        self.size = size

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield bytes [start, stop) of the file."""
        if start < stop:
            yield Piece(start, stop - start, None, self._member, start)
