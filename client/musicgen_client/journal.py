"""An append-only journal of jobs on disk: what was planned, what may have been sent, and what came of it.

One JSON object per line. Every line is written by one call and reaches the disk (fsync) before `append` returns, so a
killed process loses at most the line that it was writing; opening the journal removes such a torn last line.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from musicgen_client.errors import JournalError

PLANNED, SENDING, SENT, RESULT, SAVED = "planned", "sending", "sent", "result", "saved"
_EVENTS = (PLANNED, SENDING, SENT, RESULT, SAVED)


@dataclass
class Record:
    """What the journal says about one job. `event` is its last event; `sending` without `sent` means in doubt."""

    id: str
    event: str = PLANNED
    planned_at: float = 0.0
    request: dict[str, Any] = field(default_factory=dict[str, Any])
    label: dict[str, Any] = field(default_factory=dict[str, Any])  # of the caller: name of the files, endpoint, ...
    attempts: int = 0
    sent_at: float = 0.0  # of the last attempt, before the call
    expires_at: float = 0.0  # from then on the last attempt can neither wait nor run any more
    output: str | None = None
    failure: str | None = None
    status: str | None = None  # completed, refused, failed, expired, cancelled
    response: dict[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None
    files: list[str] = field(default_factory=list[str])

    @property
    def open(self) -> bool:
        """Whether the job still has to be sent or awaited."""
        return self.event in (PLANNED, SENDING, SENT)

    @property
    def unsaved(self) -> bool:
        """Whether the job has music whose files have not been written."""
        return self.event == RESULT and self.status == "completed"

    def apply(self, event: dict[str, Any]) -> None:
        """Advance by one event of the journal."""
        self.event = event["event"]
        if self.event == PLANNED:
            self.planned_at, self.request = event["at"], event["request"]
            self.label = event.get("label", {})
        elif self.event == SENDING:
            self.attempts += 1
            self.sent_at, self.expires_at = event["at"], event["expires_at"]
            self.output, self.failure = event.get("output"), None
        elif self.event == SENT:
            self.output, self.failure = event["output"], event.get("failure")
        elif self.event == RESULT:
            self.status, self.error = event["status"], event.get("error")
            self.response = event.get("response", {})
        elif self.event == SAVED:
            self.files = event["files"]


class Journal:
    """A journal that this process alone writes; a context manager. JournalError if another process has it open.

    Finished jobs are kept in memory by their id only, so that a batch of any size needs memory for its window alone;
    `replay` reads them from the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, Record] = {}  # open, or with music that is not saved
        self._finished: set[str] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        self._file = path.open("a+b", buffering=0)
        try:
            _lock(self._file, path)
            self._remove_torn_line()
            for event in _events(path):
                self._apply(event)
        except BaseException:
            self._file.close()
            raise
        if not existed:
            _sync_folder(path.parent)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __contains__(self, job: str) -> bool:
        return job in self.records or job in self._finished

    def close(self) -> None:
        """Release the journal; everything in it is already on disk."""
        self._file.close()

    def append(self, event: str, job: str, **fields: Any) -> Record:
        """Write an event and return the job's record; when this returns, the event survives a crash."""
        line = {"event": event, "id": job, **fields}
        write_line(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        return self._apply(line)

    def _apply(self, event: dict[str, Any]) -> Record:
        record = self.records.get(event["id"]) or Record(event["id"])
        record.apply(event)
        if record.open or record.unsaved:
            self.records[record.id] = record
            self._finished.discard(record.id)
        else:
            self.records.pop(record.id, None)
            self._finished.add(record.id)
        return record

    def _remove_torn_line(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - 65536)
            self._file.seek(start)
            found = self._file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            self._file.truncate(end)
            os.fsync(self._file.fileno())


def write_line(file: IO[bytes], line: bytes) -> None:
    """Append a whole line and wait until it is on disk."""
    written = 0
    while written < len(line):
        written += os.write(file.fileno(), line[written:])
    os.fsync(file.fileno())


def replay(path: Path) -> list[Record]:
    """Return every job of a journal in the order of planning; JournalError if a line is not one of a journal."""
    records: dict[str, Record] = {}
    for event in _events(path):
        records.setdefault(event["id"], Record(event["id"])).apply(event)
    return list(records.values())


def _events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events; ignore an unfinished last line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                event = json.loads(line)
                Record(event["id"]).apply(event)
                if event["event"] not in _EVENTS:
                    raise ValueError(f"unknown event {event['event']}")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise JournalError(f"line {number} of {path} is not a journal's: {error!r}") from error
            yield event


def _lock(file: IO[bytes], path: Path) -> None:
    """Take the journal for this process; the lock ends with the process, however it ends."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise JournalError(f"another process is using {path}; wait for it, or end it") from error


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable, where the system can open a folder."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
