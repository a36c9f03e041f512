"""A commit of a model repository, wherever it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stage_model.sources import Source


@dataclass(frozen=True)
class RepoFile:
    """A file at the root of a commit: size in bytes; `sha256` for LFS files, `blob_sha1` (git's) for all others."""

    path: str
    size: int
    sha256: str | None
    blob_sha1: str | None


class Repository(Protocol):
    """What planning needs of a repository."""

    def list_files(self) -> Sequence[RepoFile]:
        """Return the files at the root. Raises StagingError for an unknown or gated commit, or an odd listing."""
        ...

    def open(self, file: RepoFile) -> Source:
        """Return a published file for reading by ranges."""
        ...
