"""A published file as a stream that proves itself: whoever reads it to its end has the right bytes, or an error."""

import hashlib
import io

from stage_model.errors import StagingError
from stage_model.source.reader import Source
from stage_model.source.repository import RepoFile


class CheckedFile(io.RawIOBase):
    """Reads a source once, in order; the last byte is only given out when all of them have the listed checksum."""

    def __init__(self, file: RepoFile, source: Source) -> None:
        super().__init__()
        self._file, self._source, self._at = file, source, 0
        self._hash = hashlib.sha256() if file.sha256 else hashlib.sha1(usedforsecurity=False)
        if not file.sha256:
            self._hash.update(b"blob %d\0" % file.size)  # as git hashes a file

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] - the base takes any buffer
        """Fill the buffer as far as the file goes. Raises StagingError for a wrong checksum."""
        view = memoryview(buffer).cast("B")
        view = view[: min(len(view), self._file.size - self._at)]
        if len(view):
            self._source.read_into(self._at, [view])
            self._hash.update(view)
            self._at += len(view)
            if self._at == self._file.size:
                self._check()
        return len(view)

    def _check(self) -> None:
        want, got = self._file.sha256 or self._file.blob_sha1, self._hash.hexdigest()
        if got != want:
            raise StagingError(f"{self._file.path} must have checksum {want}, got {got}")
