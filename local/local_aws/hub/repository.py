"""The repository that a loopback Hub serves: the files of one commit, as the Hub lists them."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_MODEL_ID = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LFS_SUFFIXES = frozenset({".safetensors", ".bin", ".model", ".pt", ".onnx", ".h5", ".wav"})
_LFS_SIZE = 10_000_000  # the Hub refuses larger files outside LFS
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class HubFile:
    """One file of the commit; `content` is its bytes, or the file that holds them.

    `size` is in bytes, `sha256` is set for LFS files only. `blob_id` is git's SHA-1 of what git stores: the file
    itself, or the pointer to an LFS file.
    """

    path: str
    content: bytes | Path
    size: int
    blob_id: str
    sha256: str | None

    @property
    def etag(self) -> str:
        """The Hub's ETag: the SHA-256 of an LFS file, else git's SHA-1, in quotes."""
        return f'"{self.sha256 or self.blob_id}"'

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to before `stop`."""
        return _blocks(self.content, start, stop)

    def sibling(self, *, blobs: bool) -> dict[str, Any]:
        """Return the entry in the model information; size and checksums only with `?blobs=true`."""
        if not blobs:
            return {"rfilename": self.path}
        entry: dict[str, Any] = {"rfilename": self.path, "size": self.size, "blobId": self.blob_id}
        if self.sha256:
            pointer_size = len(_lfs_pointer(self.sha256, self.size))
            entry["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": pointer_size}
        return entry


class Repository:
    """A model's name (`<organisation>/<name>`), its commit (40 hexadecimal digits) and its files.

    Files may be written while a Hub serves them; the commit stays the same.
    """

    def __init__(self, model_id: str, revision: str, files: Mapping[str, bytes | Path] | None = None) -> None:
        if not _MODEL_ID.fullmatch(model_id):
            raise ValueError(f"model_id must be <organisation>/<name>, got {model_id!r}")
        if not _COMMIT.fullmatch(revision):
            raise ValueError(f"revision must be 40 hexadecimal digits, got {revision!r}")
        self.model_id = model_id
        self.revision = revision
        self.files: dict[str, HubFile] = {}
        for path, content in (files or {}).items():
            self.write(path, content)

    @classmethod
    def from_folder(cls, folder: Path, *, model_id: str, revision: str) -> Self:
        """Return a repository of all regular files below `folder`, without links. Raises ValueError if it is absent."""
        if not folder.is_dir():
            raise ValueError(f"folder must be an existing folder, got {str(folder)!r}")
        sources = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        return cls(model_id, revision, {source.relative_to(folder).as_posix(): source for source in sources})

    def write(self, path: str, content: bytes | Path, *, lfs: bool | None = None) -> None:
        """Add or replace a file. `lfs` stores it in Git LFS or not; by default its suffix and size decide."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if lfs is None:
            lfs = Path(path).suffix in _LFS_SUFFIXES or size > _LFS_SIZE
        if lfs:
            digest = hashlib.sha256()
            for block in _blocks(content, 0, size):
                digest.update(block)
            sha256 = digest.hexdigest()
            stored = _lfs_pointer(sha256, size)
        else:
            sha256, stored = None, b"".join(_blocks(content, 0, size))
        blob_id = hashlib.sha1(b"blob %d\0" % len(stored) + stored, usedforsecurity=False).hexdigest()
        self.files[path] = HubFile(path, content, size, blob_id, sha256)

    def read(self, path: str) -> bytes:
        """Return the content of a file; raises KeyError if there is none of that name."""
        file = self.files[path]
        return b"".join(file.blocks(0, file.size))

    def lfs_file(self, sha256: str) -> HubFile | None:
        return next((file for file in self.files.values() if file.sha256 == sha256), None)

    def information(self, *, blobs: bool = True, gated: bool = False) -> dict[str, Any]:
        """Return the model information: the response of `/api/models/{id}/revision/{revision}`."""
        return {
            "id": self.model_id,
            "modelId": self.model_id,
            "sha": self.revision,
            "private": False,
            "gated": "auto" if gated else False,
            "disabled": False,
            "siblings": [file.sibling(blobs=blobs) for file in self.files.values()],
        }


def _lfs_pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def _blocks(content: bytes | Path, start: int, stop: int) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content[start:stop]
        return
    with content.open("rb") as source:
        source.seek(start)
        while start < stop and (block := source.read(min(_BLOCK_BYTES, stop - start))):
            yield block
            start += len(block)
