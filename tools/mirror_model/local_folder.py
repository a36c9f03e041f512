"""A model in a folder of this machine as a commit, which can be mirrored, verified and staged like one of the Hub."""

import hashlib
import json
from pathlib import Path

from stage_model.errors import StagingError
from stage_model.source.byte_source import Views
from stage_model.source.repository_listing import RepoFile, parse_listing


class LocalFile:
    """A file, read by range."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def read_into(self, offset: int, views: Views) -> None:
        """Fill the views with the bytes from `offset` on. Raises StagingError if the file has become shorter."""
        with self._path.open("rb") as file:
            file.seek(offset)
            for view in views:
                if file.readinto(view) != len(view):
                    raise StagingError(f"{self._path} changed while it was read")


class LocalFolder:
    """The regular files of a folder, without those below it. `revision` is a hash of their names and contents."""

    def __init__(self, folder: Path, model_id: str) -> None:
        if not folder.is_dir():
            raise StagingError(f"--folder must be a folder, got {str(folder)!r}")
        self._folder, self._model_id = folder, model_id
        self._siblings: list[dict[str, object]] = []
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
            lfs = {"sha256": sha256, "size": size, "pointerSize": 0}
            self._siblings.append({"rfilename": path.name, "size": size, "blobId": sha256[:40], "lfs": lfs})
        content = json.dumps([model_id, self._siblings]).encode()
        self.revision = hashlib.sha256(content).hexdigest()[:40]

    def listing(self) -> bytes:
        """Return the files in the form of the Hub's response, with which staging verifies them."""
        document = {"id": self._model_id, "sha": self.revision, "siblings": self._siblings}
        return json.dumps(document).encode()

    def list_files(self) -> list[RepoFile]:
        """Return the files whose names the Hub's listings may have. Raises StagingError."""
        return parse_listing(self.listing(), self._model_id, self.revision)

    def open(self, file: RepoFile) -> LocalFile:
        """Return a file for reading."""
        return LocalFile(self._folder / file.path)
