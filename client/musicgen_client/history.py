"""The journals of this user on this machine: what was generated, and what is still open."""

import hashlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from musicgen_client.errors import InvalidRequest
from musicgen_client.journal import Record, replay


def state_folder() -> Path:
    """Return the folder of all journals: MUSICGEN_STATE, else the user's folder for state (XDG)."""
    if given := os.environ.get("MUSICGEN_STATE"):
        return Path(given)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "musicgen"


class History:
    """The journals of one stack."""

    def __init__(self, stack: str, folder: Path | None = None) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,127}", stack):
            raise InvalidRequest(f"the stack's name must be letters, digits and dashes, got {stack!r}")
        self.folder = (folder or state_folder()) / stack

    def new(self, job: str) -> Path:
        """Return the path of a new journal for a run whose first job is `job`."""
        return self.folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{job[:12]}.jsonl"

    def of_batch(self, name: str) -> Path:
        """Return the path of a batch's journal, which is the same whenever the batch is run."""
        return self.folder / f"batch-{hashlib.sha256(name.encode()).hexdigest()[:20]}.jsonl"

    def records(self) -> Iterator[tuple[Path, Record]]:
        """Yield every job with its journal, the newest journal first."""
        paths = sorted(self.folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in paths:
            for record in reversed(replay(path)):
                yield path, record

    def find(self, job: str) -> tuple[Path, Record]:
        """Return a job by its id or the beginning of it, "last" being the newest; InvalidRequest if none or several."""
        if job == "last":
            newest = max(self.records(), key=lambda item: item[1].planned_at, default=None)
            if newest is None:
                raise InvalidRequest(f"nothing was generated from this machine yet ({self.folder})")
            return newest
        found = [(path, record) for path, record in self.records() if record.id.startswith(job)]
        exact = [item for item in found if item[1].id == job] or found
        if len(exact) != 1:
            what = "no job" if not exact else f"{len(exact)} jobs"
            raise InvalidRequest(
                f"{what} of this machine's journals has an id that begins with {job!r}; see `musicgen list`"
            )
        return exact[0]
