# boto3-stubs know only the services that the project installs them for
# pyright: reportUnknownMemberType=false
"""Erase what a stack stores of some requests: `python -m erase --stack MusicGen-prod --inference-id alice-17`.

Finds every version of: the clips, metadata and progress under `audio/<inference id>/`; `cancel/<inference id>`; the
responses under `out/` that name the inference id; and the objects given by `--key`. Lists them, and deletes them with
`--yes`. Does not see: other buckets (`external_buckets`), and failures, inputs and responses with `Accept: audio/wav`
unless given by `--key`, as these do not name their request.

Exit status: 0 everything found was listed or deleted; 1 S3 refused to delete some; 2 could not ask, or wrong usage.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from smoke_test.__main__ import describe

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}|[A-Za-z0-9][A-Za-z0-9._-]{2,62}\*")  # as docs/api.md, or a prefix
_KEY = re.compile(r"(in|out|failures|audio|cancel)/.{1,1000}")
_MAX_RESPONSE_BYTES = 2_000_000  # with the tokens of sixteen clips
_BATCH = 1000  # S3's limit for DeleteObjects
Client = Any  # boto3's clients have no static types
Version = tuple[str, str, str]  # bucket, key, version id


def find_versions(s3: Client, inputs: str, outputs: str, ids: Sequence[str], keys: Sequence[str]) -> list[Version]:
    """Return all versions and delete markers that belong to the inference ids, or have one of the keys."""
    found: set[Version] = set()
    for name in ids:
        start = name.rstrip("*") if name.endswith("*") else f"{name}/"
        found.update(_versions(s3, outputs, f"audio/{start}"))
        cancelled = _versions(s3, outputs, f"cancel/{start.rstrip('/')}")
        found.update(version for version in cancelled if _matches(version[1].removeprefix("cancel/"), [name]))
    for key in [*keys, *_responses(s3, outputs, ids)]:
        bucket = inputs if key.startswith("in/") else outputs
        found.update(version for version in _versions(s3, bucket, key) if version[1] == key)
    return sorted(found)


def delete_versions(s3: Client, versions: Sequence[Version]) -> list[str]:
    """Delete the versions, and return a line for each that S3 refused."""
    refused: list[str] = []
    for bucket in sorted({version[0] for version in versions}):
        objects = [{"Key": key, "VersionId": version} for name, key, version in versions if name == bucket]
        for start in range(0, len(objects), _BATCH):
            batch = {"Objects": objects[start : start + _BATCH], "Quiet": True}
            answer = s3.delete_objects(Bucket=bucket, Delete=batch)
            refused += [f"s3://{bucket}/{item['Key']}: {item['Code']}" for item in answer.get("Errors", [])]
    return refused


def _responses(s3: Client, bucket: str, ids: Sequence[str]) -> Iterator[str]:
    """Yield the keys under `out/` of responses to the inference ids. Reads each response, of a few hundred bytes."""
    if not ids:
        return
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="out/"):
        for item in page.get("Contents", []):
            if item["Size"] > _MAX_RESPONSE_BYTES:
                continue
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            try:
                response: Any = json.loads(body)
            except ValueError:  # a clip, with `Accept: audio/wav`
                continue
            if isinstance(response, dict) and _matches(str(response.get("inference_id")), ids):  # pyright: ignore[reportUnknownArgumentType]
                yield item["Key"]


def _versions(s3: Client, bucket: str, prefix: str) -> Iterator[Version]:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            yield bucket, item["Key"], item["VersionId"]


def _matches(name: str, ids: Sequence[str]) -> bool:
    return any(name.startswith(given[:-1]) if given.endswith("*") else name == given for given in ids)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m erase", description=__doc__, formatter_class=_AsWritten)
    parser.add_argument("--stack", required=True, help="the deployed stack's name, for example MusicGen-prod")
    parser.add_argument("--region", help="its region; default: that of the AWS profile or environment")
    parser.add_argument("--inference-id", action="append", default=[], help="a request's id; with a final *, a prefix")
    parser.add_argument(
        "--key", action="append", default=[], help="an object under in/, out/, failures/, audio/, cancel/"
    )
    parser.add_argument("--yes", action="store_true", help="delete; without it, only list")
    options = parser.parse_args(arguments)
    if not options.inference_id and not options.key:
        parser.error("--inference-id or --key must be given")
    for name in options.inference_id:
        if not _ID.fullmatch(name):
            parser.error(f"--inference-id must be 1 to 64 letters, digits, . _ or -, or 3 or more and *, got {name!r}")
    for key in options.key:
        if not _KEY.fullmatch(key):
            parser.error(f"--key must be an object under in/, out/, failures/, audio/ or cancel/, got {key!r}")
    return options


class _AsWritten(argparse.RawDescriptionHelpFormatter):
    """Keeps the paragraphs of the description."""


def main(arguments: Sequence[str] | None = None) -> int:
    """List or delete with the environment's AWS credentials, and return the exit status."""
    options = _parsed(arguments)
    try:
        session = boto3.Session(region_name=options.region)
        cloudformation: Client = session.client("cloudformation")
        (stack,) = cloudformation.describe_stacks(StackName=options.stack)["Stacks"]
        outputs = {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}
        s3, buckets = session.client("s3"), (outputs["InputBucketName"], outputs["OutputBucketName"])
        versions = find_versions(s3, *buckets, options.inference_id, options.key)
        for bucket, key, version in versions:
            print(f"s3://{bucket}/{key} {version}")
        refused = delete_versions(s3, versions) if options.yes else []
    except KeyError as error:
        print(f"stack {options.stack} has no output {error}; is it a MusicGen stack?", file=sys.stderr)
        return 2
    except (BotoCoreError, ClientError) as error:
        print(f"{options.stack}: {describe(error)}", file=sys.stderr)
        return 2
    print("\n".join(refused), end="\n" if refused else "", file=sys.stderr)
    done = f"deleted {len(versions) - len(refused)}" if options.yes else f"found {len(versions)}, delete with --yes:"
    print(f"{done} object versions")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
