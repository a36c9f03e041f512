"""A commit of a model repository: its files, its validated listing, and the inference bundle that joins them."""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from stage_model.errors import StagingError
from stage_model.memory import MemoryBudget
from stage_model.source.byte_source import Source

MAX_LISTING = 8 << 20  # bytes: enough for thousands of files
_MAX_SMALL_FILE = 16 << 20  # bytes; the Hub rejects files over 10 MB outside LFS
_MAX_BUNDLE, _MAX_BUNDLE_FILES = 32 << 20, 1000  # unpacked bytes, files: the bundle is source code
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BUNDLE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SYMLINK = 0xA  # file type: the top four bits of a Unix mode


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file at the root of a commit: size in bytes; `sha256` for LFS files, `blob_sha1` (git's) for all others."""

    path: str
    size: int
    sha256: str | None
    blob_sha1: str | None


class Repository(Protocol):
    """One commit of a model repository."""

    def list_files(self) -> Sequence[RepoFile]:
        """Return the files at the root. Raises StagingError for an unknown or gated commit, or an invalid listing."""
        ...

    def open(self, file: RepoFile) -> Source:
        """Return a file for reading by range."""
        ...


def parse_listing(body: bytes, name: str, revision: str) -> list[RepoFile]:
    """Return the root files in the Hub's response to `GET /api/models/<id>/revision/<commit>?blobs=true`.

    `name` is the model's name in errors. Raises StagingError unless this is a listing of exactly that commit.
    """
    what = f"the Hub's listing of {name}"
    if len(body) > MAX_LISTING:
        raise StagingError(f"{what} must be at most {MAX_LISTING} bytes, got a longer one")
    document = MemoryBudget().parse_json(what, body)  # nothing else of the run is in memory yet
    if not isinstance(document, dict):
        raise StagingError(f"{what} must be a JSON object, got {_shown(document)}")
    listing = cast(dict[str, Any], document)
    if listing.get("sha") != revision:
        raise StagingError(f"{name} must resolve to that commit, got {_shown(listing.get('sha'))}")
    siblings = listing.get("siblings")
    if not isinstance(siblings, list):
        raise StagingError(f"{what} must have siblings, got {_shown(siblings)}")
    files: dict[str, RepoFile] = {}
    for sibling in cast(list[Any], siblings):
        file = _parse_file(sibling)
        if file is not None and files.setdefault(file.path, file) is not file:
            raise StagingError(f"{what} must name every file once, got {file.path} twice")
    return list(files.values())


def _shown(value: object) -> str:
    """Return a value from JSON for an error message: lists and objects, maybe deep or huge, as their type only."""
    return f"a {type(value).__name__}" if type(value) in (list, dict) else ascii(value)[:100]


def _parse_file(sibling: object) -> RepoFile | None:
    """Return a root file, or None for files in folders and hidden ones, which are never staged."""
    if not isinstance(sibling, dict):
        raise StagingError(f"a sibling in the Hub's listing must be an object, got {_shown(sibling)}")
    fields = cast(dict[str, Any], sibling)
    path = fields.get("rfilename")
    if not isinstance(path, str) or not _PLAIN_NAME.fullmatch(path):
        return None
    lfs = fields.get("lfs")
    lfs_fields = cast(dict[str, Any], lfs) if isinstance(lfs, dict) else {}
    size = lfs_fields.get("size", fields.get("size"))
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 45:
        raise StagingError(f"the size of {path} must be a number of bytes, got {_shown(size)}")
    sha256, sha1 = lfs_fields.get("sha256"), fields.get("blobId")
    if isinstance(sha256, str) and _SHA256.fullmatch(sha256):
        return RepoFile(path, size, sha256, None)
    if isinstance(sha1, str) and _SHA1.fullmatch(sha1):
        return RepoFile(path, size, None, sha1)
    raise StagingError(f"the Hub must give a checksum for {path}, got {_shown(sha256)} and {_shown(sha1)}")


def read_verified(repository: Repository, file: RepoFile, memory: MemoryBudget | None = None) -> bytes:
    """Return a whole file, charged to the run's memory.

    Raises StagingError on a wrong checksum, a file over 16 MiB, or too little memory.
    """
    if file.size > _MAX_SMALL_FILE:
        raise StagingError(f"{file.path} must be at most {_MAX_SMALL_FILE} bytes, got {file.size}")
    memory = memory or MemoryBudget()
    memory.charge(file.path, file.size)
    with memory.lend(file.path, file.size):  # the copy
        data = bytearray(file.size)
        repository.open(file).read_into(0, [memoryview(data)])
        if file.sha256 is not None:
            want, got, kind = file.sha256, hashlib.sha256(data).hexdigest(), "SHA-256"
        else:
            blob = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
            blob.update(data)
            want, got, kind = file.blob_sha1, blob.hexdigest(), "git blob SHA-1"
        if want != got:
            raise StagingError(f"{file.path} must have {kind} {want}, got {got}")
        return bytes(data)


def read_bundle(data: bytes) -> dict[str, bytes]:
    """Return the files of the inference bundle's zip by path, sorted.

    Raises StagingError unless it is a zip of limited size with regular files and plain relative paths.
    """
    listed = data.count(b"PK\1\2")  # begins each entry of the directory, which zipfile reads whole
    if listed > 4 * _MAX_BUNDLE_FILES:
        raise StagingError(f"the bundle must hold 1 to {_MAX_BUNDLE_FILES} files, got up to {listed}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            _check_bundle(members)
            return {info.filename: _read_member(archive, info) for info in sorted(members, key=lambda i: i.filename)}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise StagingError(f"the bundle must be a zip file, got {error}") from error


def _check_bundle(members: list[zipfile.ZipInfo]) -> None:
    if not 0 < len(members) <= _MAX_BUNDLE_FILES:
        raise StagingError(f"the bundle must hold 1 to {_MAX_BUNDLE_FILES} files, got {len(members)}")
    total = sum(info.file_size for info in members)
    if total > _MAX_BUNDLE:
        raise StagingError(f"the bundle must unpack to at most {_MAX_BUNDLE} bytes, got {total}")
    if len({info.filename for info in members}) != len(members):
        raise StagingError("the bundle must name every file once")
    for info in members:
        name = info.filename
        if not all(_BUNDLE_NAME.fullmatch(part) for part in name.split("/")):
            raise StagingError(f"the bundle's paths must be plain and relative, got {name!r}")
        if name.lower().rpartition("/")[2] == "manifest.json":
            raise StagingError(f"the bundle must hold no manifest.json, which stops multi-model-server, got {name}")
        if info.external_attr >> 28 == _SYMLINK:
            raise StagingError(f"the bundle must hold regular files, got the link {name!r}")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as file:
        data = file.read(info.file_size + 1)  # the header's size may be wrong; zipfile checks the CRC at the end
    if len(data) != info.file_size:
        raise StagingError(f"the bundle's {info.filename} must be {info.file_size} bytes, got more")
    return data
