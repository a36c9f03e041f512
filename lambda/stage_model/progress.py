"""How far a run got, as its journal says it: a prefix of the parts, and the hashes after it.

Parts are shipped in any order, but only an unbroken prefix is written down; a killed run loses the few parts beyond.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stage_model.ledger import Snapshot
from stage_model.store import StoredPart


@dataclass(frozen=True)
class PartDone:
    """A part in the store, and the CRC-32 and length (bytes) of its payload."""

    stored: StoredPart
    payload_crc: int
    payload_length: int


@dataclass(frozen=True)
class Resume:
    """Where a run goes on: parts that are in the store, and the ledger after the first `hashed` of them."""

    parts: tuple[PartDone, ...] = ()
    hashed: int = 0
    snapshot: Snapshot = field(default_factory=Snapshot)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        rows = [[*vars(p.stored).values(), p.payload_crc, p.payload_length] for p in self.parts]
        return {"parts": rows, "hashed": self.hashed, "snapshot": self.snapshot.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Resume":
        """Return what `to_json` wrote."""
        parts = tuple(PartDone(StoredPart(*row[:4]), row[4], row[5]) for row in value["parts"])
        return cls(parts, value["hashed"], Snapshot.from_json(value["snapshot"]))


class Progress:
    """Collects what threads report about the parts of a run, which are counted from 0 over all objects."""

    def __init__(self, resume: Resume) -> None:
        self._lock = threading.Lock()
        self._stored = {index: part.stored for index, part in enumerate(resume.parts)}
        self._payloads = {index: (p.payload_crc, p.payload_length) for index, p in enumerate(resume.parts)}
        self._snapshots = {resume.hashed: resume.snapshot}
        self._prefix = len(resume.parts)

    def known_payload(self, index: int) -> tuple[int, int] | None:
        """Return CRC-32 and length of a part's payload, if it is known."""
        return self._payloads.get(index)

    def is_shipped(self, index: int) -> bool:
        """Return whether the store has the part."""
        return index in self._stored

    def stored(self, index: int) -> StoredPart:
        """Return what the store said about a shipped part."""
        return self._stored[index]

    def taken(self, index: int, crc: int, length: int, snapshot: Snapshot | None) -> None:
        """Note that all parts up to this one are hashed, with this ledger if it can be written down."""
        with self._lock:
            self._payloads[index] = (crc, length)
            if snapshot is not None:
                self._snapshots[index + 1] = snapshot

    def shipped(self, index: int, stored: StoredPart) -> None:
        """Note that the store has a part."""
        with self._lock:
            self._stored[index] = stored
            while self._prefix in self._stored:
                self._prefix += 1
            best = max(at for at in self._snapshots if at <= self._prefix)
            self._snapshots = {at: snapshot for at, snapshot in self._snapshots.items() if at >= best}

    def resume(self) -> Resume:
        """Return where another run could go on now."""
        with self._lock:
            hashed = min(self._snapshots)
            parts = tuple(PartDone(self._stored[index], *self._payloads[index]) for index in range(self._prefix))
            return Resume(parts, hashed, self._snapshots[hashed])
