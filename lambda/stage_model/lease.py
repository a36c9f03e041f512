"""Holding a request: at most one run changes its record, for as long as it keeps renewing its lease."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stage_model.errors import ConflictError, SupersededError, TransientError
from stage_model.patience import Patience, persist
from stage_model.run_record import RUNS, RunRecord, parse_record
from stage_model.store import Objects

LEASE_S = 60.0  # how long a killed run blocks the next one
_RENEW_S = 10.0
_POLL_S = 5.0


class Lease:
    """A record that this run owns. Every change is a conditional write; the first that fails ends the run."""

    def __init__(self, objects: Objects, key: str, record: RunRecord, etag: str, patience: Patience) -> None:
        self._objects, self._key, self._patience = objects, key, patience
        self._etag = etag
        self._lock = threading.Lock()
        self.record = record

    def save(self, **changes: Any) -> None:
        """Change fields of the record and renew the lease. Raises SupersededError once another run owns the record."""
        with self._lock:
            until = changes.pop("lease_until", self._patience.clock.now() + LEASE_S)
            self._write(replace(self.record, lease_until=until, **changes))

    def save_when_due(self, journal: Callable[[], Mapping[str, Any]]) -> None:
        """Save the journal and renew the lease, if that was not done in the last seconds."""
        if self._patience.clock.now() >= self.record.lease_until - LEASE_S + _RENEW_S:
            self.save(journal=journal())

    def delete(self, key: str) -> None:
        """Delete an object while surely holding the request.

        S3 cannot tie a deletion to the lease. So it is only sent while the lease outlasts a request's time-outs (25 s):
        a run that was stopped in between and wakes up later would else delete what another has staged since.
        """
        if self._patience.clock.now() > self.record.lease_until - LEASE_S / 2:
            self.save()
        self._objects.delete(key)

    def release(self) -> None:
        """Let the next run begin at once."""
        self.save(lease_until=0.0)

    def _write(self, record: RunRecord) -> None:
        self._etag = persist(self._patience, lambda: self._replace(record))
        self.record = record

    def _replace(self, record: RunRecord) -> str:
        try:
            return self._objects.write(self._key, record.to_bytes(), self._etag)
        except ConflictError as error:
            # An own write whose answer was lost looks like another's; only the owner's name tells.
            found = self._objects.read(self._key)
            if found is None or parse_record(found.data).owner != record.owner:
                raise SupersededError(f"another run owns {self._key}") from error
            self._etag = found.etag
            raise TransientError(f"{self._key} was written by this run already") from error


@dataclass(frozen=True)
class Request:
    """A CloudFormation request: its id, the resource's logical id, when it was made (seconds; None: unknown).

    `key_prefix` is where the record goes.
    """

    key_prefix: str
    request_id: str
    logical_id: str
    issued: float | None

    @property
    def key(self) -> str:
        """The record's key."""
        return f"{self.key_prefix}{RUNS}{self.request_id}.json"


def acquire(objects: Objects, request: Request, owner: str, waiting: Patience, patience: Patience) -> Lease:
    """Wait for the request's lease and take it; `owner` is this run's unique name.

    `waiting` bounds the wait. The lease itself works with `patience`, which lasts until a journal is saved.

    Raises SupersededError when the request needs nothing more or another run still holds it at the end of the wait.
    """
    while waiting.clock.now() < waiting.deadline:
        lease = persist(waiting, lambda: _try_acquire(objects, request, owner, patience))
        if isinstance(lease, Lease):
            return lease
        waiting.clock.sleep(min(lease, _POLL_S))
    raise SupersededError(f"another run holds request {request.request_id}; if it dies, Lambda runs it again")


def _try_acquire(objects: Objects, request: Request, owner: str, patience: Patience) -> Lease | float:
    """Return the lease, or how many seconds it is still another's."""
    now = patience.clock.now()
    found = objects.read(request.key)
    if found is None:
        issued = now if request.issued is None else request.issued
        record = RunRecord(request.request_id, request.logical_id, "running", issued, owner, now + LEASE_S, now)
    else:
        held = parse_record(found.data)
        if held.state in ("answered", "superseded"):
            raise SupersededError(f"request {request.request_id} is {held.state}")
        if held.owner != owner and held.lease_until > now:
            return held.lease_until - now
        record = replace(held, owner=owner, lease_until=now + LEASE_S)
    try:
        etag = objects.write(request.key, record.to_bytes(), found.etag if found else None)
    except ConflictError:
        return 0.0  # another run was faster, or an own write was not heard of: look again
    return Lease(objects, request.key, record, etag, patience)
