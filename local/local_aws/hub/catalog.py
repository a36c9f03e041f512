"""What a commit holds, as the Hub lists it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LFS_SUFFIXES = frozenset({".safetensors", ".bin", ".model", ".pt", ".onnx", ".h5", ".wav"})
_LFS_SIZE = 10_000_000  # the Hub refuses larger files outside LFS
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class HubFile:
    """One file of the commit. `sha256` is set for LFS files only; `blob_id` is git's SHA-1 of what git keeps: the file
    itself, or for an LFS file its pointer. `size` is in bytes."""

    path: str
    source: Path
    size: int
    blob_id: str
    sha256: str | None

    @property
    def etag(self) -> str:
        """As the Hub's: the SHA-256 of LFS files, else git's SHA-1, in quotes."""
        return f'"{self.sha256 or self.blob_id}"'

    def sibling(self, *, blobs: bool) -> dict[str, Any]:
        """The entry in the model information; size and checksums only if asked for with `?blobs=true`."""
        if not blobs:
            return {"rfilename": self.path}
        entry: dict[str, Any] = {"rfilename": self.path, "size": self.size, "blobId": self.blob_id}
        if self.sha256:
            pointer_size = len(_pointer(self.sha256, self.size))
            entry["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": pointer_size}
        return entry


def read_catalog(folder: Path) -> dict[str, HubFile]:
    """All regular files below `folder`, by their path in the repository; links are left out.

    Raises ValueError when `folder` is no folder.
    """
    if not folder.is_dir():
        raise ValueError(f"folder must be an existing folder, got {str(folder)!r}")
    sources = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    files = (_describe(source, source.relative_to(folder).as_posix()) for source in sources)
    return {file.path: file for file in files}


def _describe(source: Path, path: str) -> HubFile:
    size = source.stat().st_size
    if source.suffix in _LFS_SUFFIXES or size > _LFS_SIZE:
        sha256 = _sha256(source)
        return HubFile(path, source, size, _git_blob_id(_pointer(sha256, size)), sha256)
    return HubFile(path, source, size, _git_blob_id(source.read_bytes()), None)


def _pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def _git_blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _sha256(source: Path) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
