"""The bucket as the stager sees it; in the Lambda it is S3, in the simulation memory."""

from collections.abc import Sequence
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


class Store(Protocol):
    """One bucket. Each method makes one attempt: TransientError when another may go better, StagingError when not."""

    def size_of(self, key: str) -> int | None:
        """Return an object's length in bytes, or None if there is no such object."""
        ...

    def create_upload(self, key: str) -> Upload:
        """Begin a multipart upload."""
        ...

    def put_part(self, upload: Upload, number: int, data: memoryview, crc: int) -> StoredPart:
        """Upload one part, whose CRC-32 the store checks."""
        ...

    def complete(self, upload: Upload, parts: Sequence[StoredPart], crc: int, size: int) -> None:
        """Make the object from the parts, if none exists and CRC-32 and size (bytes) of the whole are these."""
        ...

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; one that no longer exists is no error."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is no error."""
        ...

    def unfinished_uploads(self, prefix: str) -> list[Upload]:
        """Return the unfinished uploads under a prefix."""
        ...
