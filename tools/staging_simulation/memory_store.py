"""S3 in memory: conditional writes, multipart uploads and checksums, with lost and delayed requests and replies."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from stage_model.errors import ConflictError, StagingError, TransientError, UploadGoneError
from stage_model.s3 import StoredPart, Upload, Versioned
from stage_model.upload.hashing import crc32
from staging_simulation.scheduler import Faults, Scheduler


@dataclass
class Pending:
    """An unfinished upload and its parts: (ETag, bytes) by number."""

    key: str
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict[int, tuple[str, bytes]])


class MemoryStore:
    """A bucket; each method is one request, as in `Store`."""

    def __init__(self, scheduler: Scheduler, faults: Faults) -> None:
        self._scheduler = scheduler
        self._faults = faults
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, Pending] = {}
        self._count = 0

    def size_of(self, key: str) -> int | None:
        with self._request(f"head {key}"):
            return len(self.objects[key]) if key in self.objects else None

    def read(self, key: str) -> Versioned | None:
        with self._request(f"get {key}"):
            data = self.objects.get(key)
            return None if data is None else Versioned(data, _etag(data))

    def write(self, key: str, data: bytes, replaces: str | None) -> str:
        with self._request(f"put {key}"):
            present = _etag(self.objects[key]) if key in self.objects else None
            if present != replaces:
                raise ConflictError(key)
            self.objects[key] = data
            return _etag(data)

    def delete(self, key: str) -> None:
        with self._request(f"delete {key}"):
            self.objects.pop(key, None)

    def keys(self, prefix: str) -> list[str]:
        with self._request(f"list {prefix}"):
            return sorted(key for key in self.objects if key.startswith(prefix))

    def create_upload(self, key: str) -> Upload:
        with self._request(f"create {key}"):
            self._count += 1
            upload = Upload(key, f"upload-{self._count}")
            self.uploads[upload.upload_id] = Pending(key)
            return upload

    def put_part(self, upload: Upload, number: int, data: memoryview, crc: int) -> StoredPart:
        body = bytes(data)  # sent now; the buffer may change afterwards
        with self._request(f"part {number} of {upload.upload_id}"):
            pending = self._pending(upload)
            received = self._faults.damage(body)
            if crc32([received]) != crc:
                raise TransientError("BadDigest")
            self._count += 1
            etag = f"etag-{self._count}" if self._faults.random_etags else _etag(received)
            pending.parts[number] = (etag, received)
            return StoredPart(number, etag, crc, len(received))

    def matching_parts(self, upload: Upload, parts: Sequence[StoredPart]) -> Mapping[int, StoredPart]:
        with self._request(f"parts of {upload.upload_id}"):
            pending, found = self._pending(upload), dict[int, StoredPart]()
            for part in parts:
                etag, data = pending.parts.get(part.number, ("", b""))
                if etag and (crc32([data]), len(data)) == (part.crc, part.length):
                    found[part.number] = StoredPart(part.number, etag, part.crc, part.length)
            return found

    def complete(self, upload: Upload, parts: Sequence[StoredPart], crc: int, size: int) -> None:
        with self._request(f"complete {upload.upload_id}"):
            pending = self._pending(upload)
            if upload.key in self.objects:
                raise ConflictError(upload.key)
            if any(pending.parts.get(part.number, ("",))[0] != part.etag for part in parts):
                raise TransientError("InvalidPart")
            whole = b"".join(pending.parts[part.number][1] for part in parts)
            if (crc32([whole]), len(whole)) != (crc, size):
                raise StagingError("BadDigest of the whole")
            self.objects[upload.key] = whole
            del self.uploads[upload.upload_id]

    def abort(self, upload: Upload) -> None:
        with self._request(f"abort {upload.upload_id}"):
            self.uploads.pop(upload.upload_id, None)

    def unfinished_uploads(self, prefix: str) -> list[Upload]:
        with self._request(f"uploads of {prefix}"):
            return [Upload(p.key, uid) for uid, p in sorted(self.uploads.items()) if p.key.startswith(prefix)]

    def _pending(self, upload: Upload) -> Pending:
        if upload.upload_id not in self.uploads:
            raise UploadGoneError(upload.upload_id)
        return self.uploads[upload.upload_id]

    @contextmanager
    def _request(self, what: str) -> Generator[None]:
        """Deliver a request, apply its effect (the block) and deliver the reply; either message may be late or lost."""
        self._faults.transmit()
        if self._faults.loses_request():
            self._scheduler.note(f"{what}: request lost")
            raise TransientError("request lost")
        try:
            yield
        except (ConflictError, TransientError, UploadGoneError) as error:
            self._scheduler.note(f"{what}: {type(error).__name__}")
            self._faults.transmit()
            raise
        self._scheduler.note(what)
        self._faults.transmit()
        if self._faults.loses_reply():
            self._scheduler.note(f"{what}: reply lost")
            raise TransientError("reply lost")


def _etag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
