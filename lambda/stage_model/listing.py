"""The Hub's listing of a commit (`GET /api/models/<id>/revision/<commit>?blobs=true`), checked."""

import hashlib
import json
import re
from typing import Any, cast

from stage_model.errors import StagingError
from stage_model.repository import RepoFile, Repository

MAX_LISTING = 8 << 20  # bytes; a listing of thousands of files stays below
MAX_SMALL_FILE = 16 << 20  # bytes; the Hub refuses larger files outside LFS at 10 MB
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


def parse_listing(body: bytes, name: str, revision: str) -> list[RepoFile]:
    """Return the files at the root of `revision`; `name` is how errors call the model.

    Raises StagingError for anything but a listing of exactly that commit.
    """
    listing = _parse_object(body, name)
    if listing.get("sha") != revision:
        raise StagingError(f"{name} must resolve to that commit, got {listing.get('sha')!r:.100}")
    siblings = listing.get("siblings")
    if not isinstance(siblings, list):
        raise StagingError(f"the Hub's listing of {name} must have siblings, got {siblings!r:.60}")
    files = [_parse_file(sibling) for sibling in cast(list[Any], siblings)]
    return [file for file in files if file is not None]


def read_small(repository: Repository, file: RepoFile) -> bytes:
    """Read a file whole and check it. Raises StagingError on a wrong checksum or a file over 16 MiB."""
    if file.size > MAX_SMALL_FILE:
        raise StagingError(f"{file.path} must be at most {MAX_SMALL_FILE} bytes, got {file.size}")
    data = bytearray(file.size)
    repository.open(file).read_into(0, [memoryview(data)])
    _check(file, bytes(data))
    return bytes(data)


def _parse_object(body: bytes, name: str) -> dict[str, Any]:
    try:
        if len(body) > MAX_LISTING:
            raise ValueError(f"one longer than {MAX_LISTING} bytes")
        listing = json.loads(body)
        if not isinstance(listing, dict):
            raise ValueError(f"{listing!r:.60}")
    except (ValueError, RecursionError) as error:
        raise StagingError(f"the Hub's listing of {name} must be a JSON object, got {error}") from error
    return cast(dict[str, Any], listing)


def _parse_file(sibling: object) -> RepoFile | None:
    """Return a root file, or None for what lies in folders or is hidden: neither is ever staged."""
    if not isinstance(sibling, dict):
        raise StagingError(f"a sibling in the Hub's listing must be an object, got {sibling!r:.60}")
    fields = cast(dict[str, Any], sibling)
    path = fields.get("rfilename")
    if not isinstance(path, str) or not _PLAIN_NAME.fullmatch(path):
        return None
    lfs = fields.get("lfs")
    lfs_fields = cast(dict[str, Any], lfs) if isinstance(lfs, dict) else {}
    size = lfs_fields.get("size", fields.get("size"))
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 45:
        raise StagingError(f"the size of {path} must be a number of bytes, got {size!r:.60}")
    return _with_checksum(path, size, lfs_fields.get("sha256"), fields.get("blobId"))


def _with_checksum(path: str, size: int, sha256: object, blob_sha1: object) -> RepoFile:
    if isinstance(sha256, str) and _SHA256.fullmatch(sha256):
        return RepoFile(path, size, sha256, None)
    if isinstance(blob_sha1, str) and _SHA1.fullmatch(blob_sha1):
        return RepoFile(path, size, None, blob_sha1)
    raise StagingError(f"the Hub must give a checksum for {path}, got {sha256!r:.80} and {blob_sha1!r:.80}")


def _check(file: RepoFile, data: bytes) -> None:
    if file.sha256 is not None:
        want, got, kind = file.sha256, hashlib.sha256(data).hexdigest(), "SHA-256"
    else:
        blob = b"blob %d\0" % len(data) + data
        want, got, kind = file.blob_sha1, hashlib.sha1(blob, usedforsecurity=False).hexdigest(), "git blob SHA-1"
    if want != got:
        raise StagingError(f"{file.path} must have {kind} {want}, got {got}")
