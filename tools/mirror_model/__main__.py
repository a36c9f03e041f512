# pyright: reportUnknownMemberType=false
# boto3.client is overloaded for every service, most of them without installed stubs.
"""Command line: `python -m mirror_model --model-id facebook/musicgen-small --revision <commit> --to s3://bucket/prefix`.

With `--folder` in place of `--revision` it copies a model on this machine, which need not be on the Hub. The token for
a gated model is read from HF_TOKEN. Exit code 0: the mirror is complete; 1: it is not.
"""

import argparse
import hashlib
import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from mirror_model.local_folder import LocalFolder
from stage_model.errors import OutOfTimeError, StagingError
from stage_model.http import Connections
from stage_model.retry import RetryBudget, SystemClock
from stage_model.source.byte_source import Source
from stage_model.source.hub import HubRepository
from stage_model.source.repository_listing import RepoFile, Repository, read_verified
from stage_model.source.s3_mirror import LISTING, mirror_prefix
from stage_model.weights.file_selection import AUDIOCRAFT, CARD, find_weights, resolve_shards, support_files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MAX_HOURS = 12
_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[\w.-]+)*)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy a commit, with the AWS credentials of the environment."""
    parser = argparse.ArgumentParser(prog="python -m mirror_model", description=__doc__)
    parser.add_argument("--model-id", required=True, help="the model on the Hub, for example facebook/musicgen-small")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--revision", type=_commit, help="the commit, 40 hexadecimal digits")
    source.add_argument("--folder", type=Path, help="a model on this machine; its content determines the commit")
    parser.add_argument("--to", required=True, type=_address, help="s3://<bucket>/<prefix> of the mirror")
    parser.add_argument("--hub", default="https://huggingface.co", help="the Hub, or a mirror with the same API")
    parser.add_argument("--region", help="the bucket's region; default: that of the AWS profile or environment")
    options = parser.parse_args(arguments)
    (bucket, prefix), model_id, folder = options.to, options.model_id, options.folder
    clock = SystemClock()
    budget = RetryBudget(clock, clock.now() + 3600 * _MAX_HOURS)
    with closing(Connections()) as connections:
        token, revision = os.environ.get("HF_TOKEN"), options.revision
        client = boto3.client("s3", region_name=options.region)
        try:
            if folder is None:
                repository = HubRepository(options.hub, model_id, revision, connections, budget, token)
            else:
                repository = LocalFolder(folder, model_id)
                revision = repository.revision
            copy_commit(repository, client, bucket, mirror_prefix(prefix, model_id, revision))
        except (StagingError, OutOfTimeError, ClientError, BotoCoreError) as error:
            print(f"the mirror is incomplete: {error}", file=sys.stderr)
            return 1
    named = "" if folder is None else f" -c model_id={model_id} -c model_like=…"
    print(f"deploy with -c hub_endpoint=s3://{bucket}{prefix} -c revision={revision}{named}")
    return 0


def _commit(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise argparse.ArgumentTypeError(f"must be 40 hexadecimal digits, got {text!r}")
    return text


def _address(text: str) -> tuple[str, str]:
    found = _ADDRESS.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be s3://<bucket>/<prefix> without a final slash, got {text!r}")
    return found[1], found[2]


class Commit(Repository, Protocol):
    """A commit to copy, which can be listed as the Hub does."""

    def listing(self) -> bytes:
        """Return the Hub's response for the commit. Raises StagingError as `list_files` does."""
        ...


def copy_commit(repository: Commit, client: "S3Client", bucket: str, key_prefix: str) -> None:
    """Copy and verify the files that staging reads, and last the listing, without which the mirror is incomplete.

    Raises StagingError; a damaged file is not stored.
    """
    listing, files = repository.listing(), repository.list_files()
    kind, lead = find_weights(files, custom=True)
    cards = [file for file in files if file.path == CARD]
    if kind == "audiocraft":
        support, weights = [], [file for file in files if file.path in AUDIOCRAFT]
    else:
        support, weights = support_files(files), [lead]
    if lead.path.endswith(".index.json"):
        weights += resolve_shards(files, lead.path, read_verified(repository, lead))
    for file in [*cards, *support, *weights]:
        print(f"{file.path}, {file.size / 1e6:,.1f} MB")
        stream = cast(Any, CheckedFile(file, repository.open(file)))  # upload_fileobj needs `read` only
        client.upload_fileobj(stream, bucket, key_prefix + file.path)
    client.put_object(Bucket=bucket, Key=key_prefix + LISTING, Body=listing, ContentType="application/json")


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


if __name__ == "__main__":
    sys.exit(main())
