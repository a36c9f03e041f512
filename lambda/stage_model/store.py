"""One bucket as the stager sees it; in the Lambda it is S3, in the simulation memory.

Each method makes one attempt: TransientError when another may go better, StagingError when not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Upload:
    """An unfinished multipart upload."""

    key: str
    upload_id: str


@dataclass(frozen=True)
class StoredPart:
    """A part that the store took: its number from 1, ETag, CRC-32 and length in bytes."""

    number: int
    etag: str
    crc: int
    length: int


@dataclass(frozen=True)
class Versioned:
    """A small object's bytes, and the ETag to replace exactly this version."""

    data: bytes
    etag: str


class Objects(Protocol):
    """Objects of a bucket."""

    def size_of(self, key: str) -> int | None:
        """Return an object's length in bytes, or None if there is no such object."""
        ...

    def read(self, key: str) -> Versioned | None:
        """Return a small object, or None if there is no such object."""
        ...

    def write(self, key: str, data: bytes, replaces: str | None) -> str:
        """Write an object in place of the version with ETag `replaces`, or of none; return the new ETag.

        Raises ConflictError when another version, or none, is there.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is no error."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """Return the keys under a prefix."""
        ...


class Uploads(Protocol):
    """Multipart uploads of a bucket. Methods that need an existing upload raise UploadGoneError without it."""

    def create_upload(self, key: str) -> Upload:
        """Begin a multipart upload."""
        ...

    def put_part(self, upload: Upload, number: int, data: memoryview, crc: int) -> StoredPart:
        """Upload one part, whose CRC-32 the store checks."""
        ...

    def matching_parts(self, upload: Upload, parts: Sequence[StoredPart]) -> Mapping[int, StoredPart]:
        """Return, by number, those of `parts` that the store holds with the same bytes, with its present ETags."""
        ...

    def complete(self, upload: Upload, parts: Sequence[StoredPart], crc: int, size: int) -> None:
        """Make the object from the parts, if CRC-32 and size (bytes) of the whole are these.

        Raises ConflictError when an object with that key exists.
        """
        ...

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; one that no longer exists is no error."""
        ...

    def unfinished_uploads(self, prefix: str) -> list[Upload]:
        """Return the unfinished uploads under a prefix."""
        ...


class Store(Objects, Uploads, Protocol):
    """A bucket."""
