# pyright: reportUnknownMemberType=false
# boto3.client is overloaded for every service, most of them without installed stubs.
"""Command line: `python -m mirror_model --model-id facebook/musicgen-small --revision <commit> --to s3://bucket/prefix`.

The token for a gated model is read from HF_TOKEN. Exit code 0: the mirror is complete; 1: it is not.
"""

import argparse
import hashlib
import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from stage_model.errors import OutOfTimeError, StagingError
from stage_model.http import Connections
from stage_model.retry import RetryBudget, SystemClock
from stage_model.source.byte_source import Source
from stage_model.source.hub import HubRepository
from stage_model.source.repository_listing import RepoFile, read_verified
from stage_model.source.s3_mirror import LISTING, mirror_prefix
from stage_model.weights.file_selection import find_weights, resolve_shards, support_files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MAX_HOURS = 12
_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[\w.-]+)*)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy a commit, with the AWS credentials of the environment."""
    parser = argparse.ArgumentParser(prog="python -m mirror_model", description=__doc__)
    parser.add_argument("--model-id", required=True, help="the model on the Hub, for example facebook/musicgen-small")
    parser.add_argument("--revision", required=True, type=_commit, help="the commit, 40 hexadecimal digits")
    parser.add_argument("--to", required=True, type=_address, help="s3://<bucket>/<prefix> of the mirror")
    parser.add_argument("--hub", default="https://huggingface.co", help="the Hub, or a mirror with the same API")
    parser.add_argument("--region", help="the bucket's region; default: that of the AWS profile or environment")
    options = parser.parse_args(arguments)
    (bucket, prefix), model_id, revision = options.to, options.model_id, options.revision
    clock = SystemClock()
    budget = RetryBudget(clock, clock.now() + 3600 * _MAX_HOURS)
    with closing(Connections()) as connections:
        token = os.environ.get("HF_TOKEN")
        repository = HubRepository(options.hub, model_id, revision, connections, budget, token)
        client = boto3.client("s3", region_name=options.region)
        try:
            copy_commit(repository, client, bucket, mirror_prefix(prefix, model_id, revision))
        except (StagingError, OutOfTimeError, ClientError, BotoCoreError) as error:
            print(f"the mirror is incomplete: {error}", file=sys.stderr)
            return 1
    print(f"deploy with -c hub_endpoint=s3://{bucket}{prefix} -c revision={revision}")
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


def copy_commit(repository: HubRepository, client: "S3Client", bucket: str, key_prefix: str) -> None:
    """Copy and verify the files that staging reads, and last the listing, without which the mirror is incomplete.

    Raises StagingError; a damaged file is not stored.
    """
    listing, files = repository.listing(), repository.list_files()
    _, lead = find_weights(files)
    weights = [lead]
    if lead.path.endswith(".index.json"):
        weights += resolve_shards(files, lead.path, read_verified(repository, lead))
    for file in [*support_files(files), *weights]:
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
