"""A source as a file object, for libraries that want one."""

import io

from stage_model.errors import StagingError
from stage_model.sources import Source
from stage_model.views import Views


class RangeFile(io.RawIOBase):
    """Reads a source by ranges; `limit` bounds the bytes read in all: no header makes it read the whole file."""

    def __init__(self, source: Source, limit: int) -> None:
        super().__init__()
        self._source = source
        self._left = limit
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to an offset. Raises ValueError for one before the start."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise ValueError(f"offset must be at least 0, got {base + offset}")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the offset."""
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] - the base takes any buffer
        """Fill the buffer, as far as the source goes. Raises StagingError beyond the limit."""
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self._source.size - self._at))
        self._left -= length
        if self._left < 0:
            raise StagingError("a zip archive's directory must be modest, got one that takes too much reading")
        views: Views = [view[:length]]
        if length:
            self._source.read_into(self._at, views)
        self._at += length
        return length
