"""Copying what staging needs of a commit, and the listing by which staging will check it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from mirror_model.checked_file import CheckedFile
from stage_model.source.hub import HubRepository
from stage_model.source.repository import RepoFile, read_verified
from stage_model.source.s3_mirror import LISTING
from stage_model.weights.select import find_weights, resolve_shards, support_files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Place:
    """Where in S3 a commit is kept: keys begin with `folder`, which ends in a slash."""

    bucket: str
    folder: str


def copy_commit(repository: HubRepository, client: "S3Client", place: Place, say: Callable[[str], None]) -> None:
    """Copy a commit's files, each checked, then its listing: without that nobody takes the mirror for whole.

    Raises StagingError; a file that is wrong is not left in S3.
    """
    listing = repository.listing()
    for file in needed_files(repository):
        say(f"{file.path}, {file.size / 1e6:,.1f} MB")
        stream = cast(Any, CheckedFile(file, repository.open(file)))  # upload_fileobj asks for `read` alone
        client.upload_fileobj(stream, place.bucket, place.folder + file.path)
    client.put_object(Bucket=place.bucket, Key=place.folder + LISTING, Body=listing, ContentType="application/json")


def needed_files(repository: HubRepository) -> list[RepoFile]:
    """Return the files that staging reads: configuration, tokenizer, weights, index. Raises StagingError."""
    listed = repository.list_files()
    _, lead = find_weights(listed)
    weights = [lead]
    if lead.path.endswith(".index.json"):
        weights += resolve_shards(listed, lead.path, read_verified(repository, lead))
    return [*support_files(listed), *weights]
