"""The one model that a loopback Hub serves, shared by its two origins."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_aws.hub.catalog import HubFile, read_catalog
from local_aws.hub.faults import Fault, FaultHook, HubRequest
from local_aws.hub.signing import Signer

_MODEL_ID = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Repository:
    """Files, name and commit; `token`, if set, is needed to read files (a gated model)."""

    def __init__(
        self,
        folder: Path,
        model_id: str,
        revision: str,
        *,
        token: str | None,
        signed_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not _MODEL_ID.fullmatch(model_id):
            raise ValueError(f"model_id must be <organisation>/<name>, got {model_id!r}")
        if not _COMMIT.fullmatch(revision):
            raise ValueError(f"revision must be 40 hexadecimal digits, got {revision!r}")
        self.model_id = model_id
        self.revision = revision
        self.token = token
        self.files = read_catalog(folder)
        self.signer = Signer(model_id, signed_seconds, clock)
        self.cdn_url = ""
        self.faults: FaultHook | None = None
        self._lfs_files = {file.sha256: file for file in self.files.values() if file.sha256}
        self._count = 0
        self._lock = threading.Lock()

    def information(self, *, blobs: bool) -> dict[str, Any]:
        """The model information, as `/api/models/{id}/revision/{revision}` answers."""
        return {
            "id": self.model_id,
            "modelId": self.model_id,
            "sha": self.revision,
            "private": False,
            "gated": "auto" if self.token else False,
            "disabled": False,
            "siblings": [file.sibling(blobs=blobs) for file in self.files.values()],
        }

    def lfs_file(self, sha256: str) -> HubFile | None:
        """The LFS file with that content."""
        return self._lfs_files.get(sha256)

    def count_request(self) -> int:
        """The number of the request that comes in now, from 1."""
        with self._lock:
            self._count += 1
            return self._count

    def fault_for(self, request: HubRequest) -> Fault | None:
        """What a test wants to go wrong with this request."""
        return self.faults(request) if self.faults else None
