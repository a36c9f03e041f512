"""The Hugging Face Hub's API, or a mirror's that speaks it: what a commit holds, and its files by ranges."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, cast

from stage_model.connections import Connections, Request, raise_if_busy
from stage_model.errors import StagingError
from stage_model.hub_file import HubFile
from stage_model.patience import Patience, persist

_MAX_LISTING = 8 << 20  # bytes; a listing of thousands of files stays below
MAX_SMALL_FILE = 16 << 20  # bytes; the Hub refuses larger files outside LFS at 10 MB
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RepoFile:
    """A file at the root of a commit: size in bytes; `sha256` for LFS files, `blob_sha1` (git's) for all others."""

    path: str
    size: int
    sha256: str | None
    blob_sha1: str | None


class HubRepository:
    """One commit of one model repository."""

    def __init__(
        self, endpoint: str, model_id: str, revision: str, connections: Connections, patience: Patience,
        token: str | None = None,
    ) -> None:  # fmt: skip
        self._endpoint = endpoint.rstrip("/")
        self._model_id = model_id
        self._revision = revision
        self._connections = connections
        self._patience = patience
        self._token = token

    def list_files(self) -> list[RepoFile]:
        """Return the files at the repository's root.

        Raises StagingError for an unknown model or commit, a gated one, and answers that are not a listing.
        """
        listing = persist(self._patience, self._fetch_listing)
        if listing.get("sha") != self._revision:
            raise StagingError(f"{self._name()} must resolve to that commit, got {listing.get('sha')!r}")
        siblings = listing.get("siblings")
        if not isinstance(siblings, list):
            raise StagingError(f"the Hub's listing of {self._name()} must have siblings, got {type(siblings).__name__}")
        files = [_parse_file(sibling) for sibling in cast(list[Any], siblings)]
        return [file for file in files if file is not None]

    def open(self, file: RepoFile) -> HubFile:
        """Return a published file for reading by ranges."""
        url = f"{self._endpoint}/{self._model_id}/resolve/{self._revision}/{file.path}"
        return HubFile(url, file.size, self._connections, self._patience, self._token)

    def read_small(self, file: RepoFile) -> bytes:
        """Read a file whole and check it. Raises StagingError on a wrong checksum or a file over 16 MiB."""
        if file.size > MAX_SMALL_FILE:
            raise StagingError(f"{file.path} must be at most {MAX_SMALL_FILE} bytes, got {file.size}")
        data = bytearray(file.size)
        self.open(file).read_into(0, [memoryview(data)])
        _check(file, bytes(data))
        return bytes(data)

    def _fetch_listing(self) -> dict[str, Any]:
        url = f"{self._endpoint}/api/models/{self._model_id}/revision/{self._revision}?blobs=true"
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        with self._connections.exchange(Request("GET", url, headers)) as response:
            raise_if_busy(response, "the Hub")
            self._raise_for(response.status)
            body = response.read(_MAX_LISTING + 1)
        return _parse_listing(body, self._name())

    def _raise_for(self, status: int) -> None:
        if status in (401, 403):
            raise StagingError(
                f"{self._name()} is gated, private or does not exist: the Hub answered {status}"
                + (" to the token given" if self._token else " and no token is configured")
            )
        if status == 404:
            raise StagingError(f"{self._name()} does not exist on the Hub")
        if status != 200:
            raise StagingError(f"the Hub must answer 200 for {self._name()}, got {status}")

    def _name(self) -> str:
        return f"model {self._model_id} at revision {self._revision}"


def _parse_listing(body: bytes, name: str) -> dict[str, Any]:
    try:
        if len(body) > _MAX_LISTING:
            raise ValueError(f"longer than {_MAX_LISTING} bytes")
        listing = json.loads(body)
        if not isinstance(listing, dict):
            raise ValueError(f"a JSON {type(listing).__name__}")
    except (ValueError, RecursionError) as error:
        raise StagingError(f"the Hub's listing of {name} must be a JSON object, got {error}") from error
    return cast(dict[str, Any], listing)


def _parse_file(sibling: object) -> RepoFile | None:
    """Return a root file, or None for what lies in folders or is hidden: neither is ever staged."""
    if not isinstance(sibling, dict):
        raise StagingError(f"a sibling in the Hub's listing must be an object, got {type(sibling).__name__}")
    fields = cast(dict[str, Any], sibling)
    path = fields.get("rfilename")
    if not isinstance(path, str) or not _PLAIN_NAME.fullmatch(path):
        return None
    lfs = fields.get("lfs")
    lfs_fields = cast(dict[str, Any], lfs) if isinstance(lfs, dict) else {}
    size = lfs_fields.get("size", fields.get("size"))
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 45:
        raise StagingError(f"the size of {path} must be a number of bytes, got {size!r}")
    return _with_checksum(path, size, lfs_fields.get("sha256"), fields.get("blobId"))


def _with_checksum(path: str, size: int, sha256: object, blob_sha1: object) -> RepoFile:
    if isinstance(sha256, str) and _SHA256.fullmatch(sha256):
        return RepoFile(path, size, sha256, None)
    if isinstance(blob_sha1, str) and _SHA1.fullmatch(blob_sha1):
        return RepoFile(path, size, None, blob_sha1)
    raise StagingError(f"the Hub must give a checksum for {path}, got sha256 {sha256!r} and blobId {blob_sha1!r}")


def _check(file: RepoFile, data: bytes) -> None:
    if file.sha256 is not None:
        want, got, kind = file.sha256, hashlib.sha256(data).hexdigest(), "SHA-256"
    else:
        blob = b"blob %d\0" % len(data) + data
        want, got, kind = file.blob_sha1, hashlib.sha1(blob, usedforsecurity=False).hexdigest(), "git blob SHA-1"
    if want != got:
        raise StagingError(f"{file.path} must have {kind} {want}, got {got}")
