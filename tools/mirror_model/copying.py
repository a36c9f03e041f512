"""Copies the files of a commit that staging needs, and the listing by which staging verifies them."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from stage_model.errors import StagingError
from stage_model.source.hub import HubRepository
from stage_model.source.reader import Source
from stage_model.source.repository import RepoFile, read_verified
from stage_model.source.s3_mirror import LISTING
from stage_model.weights.select import find_weights, resolve_shards, support_files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Destination:
    """The bucket and key prefix of a mirrored commit; the prefix ends in a slash."""

    bucket: str
    prefix: str


def copy_commit(
    repository: HubRepository, client: "S3Client", destination: Destination, report: Callable[[str], None]
) -> None:
    """Copy and verify a commit's files, and last its listing, without which the mirror counts as incomplete.

    Raises StagingError; a damaged file is not stored.
    """
    listing = repository.listing()
    for file in files_to_mirror(repository):
        report(f"{file.path}, {file.size / 1e6:,.1f} MB")
        stream = cast(Any, CheckedFile(file, repository.open(file)))  # upload_fileobj needs `read` only
        client.upload_fileobj(stream, destination.bucket, destination.prefix + file.path)
    client.put_object(
        Bucket=destination.bucket, Key=destination.prefix + LISTING, Body=listing, ContentType="application/json"
    )


def files_to_mirror(repository: HubRepository) -> list[RepoFile]:
    """Return the files that staging reads: configuration, tokenizer, weights, index. Raises StagingError."""
    listed = repository.list_files()
    _, lead = find_weights(listed)
    weights = [lead]
    if lead.path.endswith(".index.json"):
        weights += resolve_shards(listed, lead.path, read_verified(repository, lead))
    return [*support_files(listed), *weights]


class CheckedFile(io.RawIOBase):
    """A source as a sequential stream that returns its last byte only if the checksum of the whole file is correct."""

    def __init__(self, file: RepoFile, source: Source) -> None:
        super().__init__()
        self._file, self._source, self._at = file, source, 0
        self._hash = hashlib.sha256() if file.sha256 else hashlib.sha1(usedforsecurity=False)
        if not file.sha256:
            self._hash.update(b"blob %d\0" % file.size)  # as git hashes a file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] - the base takes any buffer
        view = memoryview(buffer).cast("B")
        view = view[: min(len(view), self._file.size - self._at)]
        if len(view):
            self._source.read_into(self._at, [view])
            self._hash.update(view)
            self._at += len(view)
            if self._at == self._file.size:
                want, got = self._file.sha256 or self._file.blob_sha1, self._hash.hexdigest()
                if got != want:
                    raise StagingError(f"{self._file.path} must have checksum {want}, got {got}")
        return len(view)
