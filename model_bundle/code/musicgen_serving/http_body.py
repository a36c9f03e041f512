"""Reading a request's body from a connection: bounded, with Content-Length or in chunks."""

from email.message import Message
from io import BufferedIOBase

from musicgen_serving.errors import BodyTooLargeError, MalformedBodyError

MAX_LINE = 1024


class RequestBody:
    """One request's body; `drained` says whether the connection can carry another request after it."""

    def __init__(self, stream: BufferedIOBase, headers: Message, limit: int) -> None:
        self._stream = stream
        self._length = headers.get("Content-Length")
        self._chunked = headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
        self._limit = limit
        self.drained = False

    def read(self) -> bytes:
        """The whole body; BodyTooLargeError beyond the limit, MalformedBodyError for wrong framing or a cut body."""
        body = self._read_chunks() if self._chunked else self._read_length()
        self.drained = True
        return body

    def _read_length(self) -> bytes:
        text = (self._length or "").strip()
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise MalformedBodyError(f"Content-Length must be a number of bytes, got {self._length!r}")
        self._check(int(text))
        return self._exactly(int(text))

    def _read_chunks(self) -> bytes:
        """RFC 9112, section 7.1: chunks of a hexadecimal length, the last of length 0, then trailers."""
        body = bytearray()
        while size := self._chunk_size():
            self._check(len(body) + size)
            body += self._exactly(size)
            self._line()
        while self._line():
            pass
        return bytes(body)

    def _chunk_size(self) -> int:
        digits = self._line().split(b";")[0].strip()
        if not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise MalformedBodyError(f"a chunk's length must be hexadecimal, got {digits[:20]!r}")
        return int(digits, 16)

    def _line(self) -> bytes:
        line = self._stream.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise MalformedBodyError(f"a chunk's line must end within {MAX_LINE} bytes, got {len(line)} without an end")
        return line.strip()

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise MalformedBodyError(f"body must be {size} bytes, got {len(data)} before the connection ended")
        return data

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise BodyTooLargeError(f"body must be at most {self._limit} bytes, got {size}")
