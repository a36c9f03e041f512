"""How far a run got, and the journal from which a retry resumes it: layout, uploads, parts and hash state.

Parts are uploaded in any order, but only an unbroken prefix is written down; a killed run loses the few parts beyond.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from stage_model.errors import StagingError
from stage_model.s3 import StoredPart, Upload
from stage_model.upload.hashing import HasherState


class RunLease(Protocol):
    """The exclusive right to work on a request, with its journal. All methods raise SupersededError once it is lost."""

    @property
    def journal(self) -> Mapping[str, Any] | None: ...

    def save(self, *, journal: Mapping[str, Any] | None) -> None: ...

    def save_when_due(self, journal: Callable[[], Mapping[str, Any]]) -> None:
        """Save the journal unless that was done in the last seconds."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object while the lease certainly holds."""
        ...


@dataclass(frozen=True)
class UploadedPart:
    """A part in the store, with CRC-32 and length (bytes) of its payload."""

    stored: StoredPart
    payload_crc: int
    payload_length: int


@dataclass(frozen=True)
class ResumePoint:
    """Where a run continues: the uploaded parts, and the hasher's state after the first `hashed` of them."""

    parts: tuple[UploadedPart, ...] = ()
    hashed: int = 0
    hasher: HasherState = field(default_factory=HasherState)

    def to_json(self) -> dict[str, Any]:
        rows = [[*vars(p.stored).values(), p.payload_crc, p.payload_length] for p in self.parts]
        return {"parts": rows, "hashed": self.hashed, "snapshot": self.hasher.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ResumePoint":
        parts = tuple(UploadedPart(StoredPart(*row[:4]), row[4], row[5]) for row in value["parts"])
        return cls(parts, value["hashed"], HasherState.from_json(value["snapshot"]))


class Progress:
    """Thread-safe progress of a run; parts are counted from 0 over all objects.

    `stored` are the uploaded parts, `payloads` the CRC-32 and length of each known payload.
    """

    def __init__(self, resume: ResumePoint) -> None:
        self._lock = threading.Lock()
        self.stored = {index: part.stored for index, part in enumerate(resume.parts)}
        self.payloads = {index: (p.payload_crc, p.payload_length) for index, p in enumerate(resume.parts)}
        self._hashers = {resume.hashed: resume.hasher}
        self._prefix = len(resume.parts)

    def hashed(self, index: int, crc: int, length: int, hasher: HasherState | None) -> None:
        """Record that all parts up to this one are hashed, with the hasher's state if it can be stored."""
        with self._lock:
            self.payloads[index] = (crc, length)
            if hasher is not None:
                self._hashers[index + 1] = hasher

    def uploaded(self, index: int, stored: StoredPart) -> None:
        """Record that the store has a part."""
        with self._lock:
            self.stored[index] = stored
            while self._prefix in self.stored:
                self._prefix += 1
            best = max(at for at in self._hashers if at <= self._prefix)
            self._hashers = {at: hasher for at, hasher in self._hashers.items() if at >= best}

    def resume_point(self) -> ResumePoint:
        """Return where another run could continue now."""
        with self._lock:
            hashed = min(self._hashers)
            parts = tuple(UploadedPart(self.stored[index], *self.payloads[index]) for index in range(self._prefix))
            return ResumePoint(parts, hashed, self._hashers[hashed])


@dataclass(frozen=True)
class Journal:
    """The journal of one run. Its JSON is stored in run records, which later versions must be able to read.

    `target` is what the run builds: the tarball's key, or the prefix of the files. `layout` identifies objects and
    parts; `kept_float32` are tensors that are not cast; there is one upload per object.
    """

    target: str = ""
    layout: str = ""
    kept_float32: tuple[str, ...] = ()
    uploads: tuple[Upload, ...] = ()
    resume: ResumePoint = field(default_factory=ResumePoint)

    def restarted(self, keep_float32: Sequence[str] = ()) -> "Journal":
        """Return the journal of a restart in which more tensors keep float32."""
        return Journal(self.target, kept_float32=tuple(sorted({*self.kept_float32, *keep_float32})))

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "layout": self.layout,
            "kept": list(self.kept_float32),
            "uploads": [[upload.key, upload.upload_id] for upload in self.uploads],
            "resume": self.resume.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> "Journal":
        """Return a stored journal, or an empty one for None. Raises StagingError for anything else."""
        if value is None:
            return cls()
        try:
            uploads = tuple(Upload(key, upload_id) for key, upload_id in value["uploads"])
            resume = ResumePoint.from_json(value["resume"])
            return cls(value["target"], value["layout"], tuple(value["kept"]), uploads, resume)
        except (KeyError, TypeError, ValueError) as error:
            raise StagingError(f"a run's journal must be as this function writes it, got {error!r}") from error
