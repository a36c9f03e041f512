"""The record of a CloudFormation request, and the lease by which at most one run works on it.

One object per request, `<KeyPrefix>runs/<request id>.json`, replaced by conditional writes only, is lease and journal:

    running ──► done ──► answered         `done` holds the response, so that a retry can send it again
       └──────► superseded                a later request for the same resource ended this one

Lambda delivers events at least once and possibly concurrently; CloudFormation sends one request per resource at a time.
The holder of the lease works, other runs wait or exit, and a later request ends those in progress. Records are not
deleted here, since late duplicates of an event must find them; a lifecycle rule expires them.
"""

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from stage_model.errors import ConflictError, StagingError, SupersededError, TransientError
from stage_model.retry import RetryBudget, retry
from stage_model.s3 import Store

RESPONSE_TIMEOUT_S = 3600.0  # CloudFormation's limit
LEASE_S = 60.0  # how long a killed run blocks the next one
_RENEW_S = 10.0
_POLL_S = 5.0
RUNS = "runs/"


@dataclass(frozen=True)
class RunRecord:
    """A request's record; its JSON must stay readable to later versions.

    `logical_id` is the resource's in the template. `issued` (when CloudFormation made the request), `lease_until` and
    `started` are epoch seconds. `journal` (the state of staging) and `answer` (the response) are JSON values.
    `finished` (epoch seconds) is when the answer was decided, before it was first sent; None also in records of earlier
    versions. `made` is whether this request made the model in its answer, rather than found it.
    """

    request_id: str
    logical_id: str
    state: Literal["running", "done", "answered", "superseded"]
    issued: float
    owner: str
    lease_until: float
    started: float
    journal: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None
    finished: float | None = None
    made: bool = False

    def to_bytes(self) -> bytes:
        return json.dumps(vars(self)).encode()  # asdict() would deep-copy the journal


def parse_record(data: bytes) -> RunRecord:
    """Return a stored record. Raises StagingError for anything else."""
    try:
        return RunRecord(**json.loads(data))
    except (ValueError, TypeError) as error:
        raise StagingError(f"a run's record must be as this function writes it, got {error}") from error


class Lease:
    """A record that this run owns. Every change is a conditional write; the first that fails ends the run."""

    def __init__(self, store: Store, key: str, record: RunRecord, etag: str, budget: RetryBudget) -> None:
        self._store, self._key, self._budget = store, key, budget
        self._etag = etag
        self._lock = threading.Lock()
        self.record = record

    @property
    def journal(self) -> Mapping[str, Any] | None:
        return self.record.journal

    def save(self, **changes: Any) -> None:
        """Change fields of the record and renew the lease. Raises SupersededError if another run owns the record."""
        with self._lock:
            until = changes.pop("lease_until", self._budget.clock.now() + LEASE_S)
            record = replace(self.record, lease_until=until, **changes)
            self._etag = retry(self._budget, lambda: self._replace(record))
            self.record = record

    def save_when_due(self, journal: Callable[[], Mapping[str, Any]]) -> None:
        """Save the journal and renew the lease, unless that was done in the last seconds."""
        if self._budget.clock.now() >= self.record.lease_until - LEASE_S + _RENEW_S:
            self.save(journal=journal())

    def delete(self, key: str) -> None:
        """Delete an object while the lease certainly holds.

        S3 cannot make a deletion conditional on the lease, so it is sent only while the lease outlasts the timeouts of
        a request (25 s): a run that was suspended in between could delete what another one has staged since.
        """
        if self._budget.clock.now() > self.record.lease_until - LEASE_S / 2:
            self.save()
        self._store.delete(key)

    def release(self) -> None:
        """Let the next run start at once."""
        self.save(lease_until=0.0)

    def _replace(self, record: RunRecord) -> str:
        try:
            return self._store.write(self._key, record.to_bytes(), self._etag)
        except ConflictError as error:
            # The owner shows whether this run wrote it and the reply was lost.
            found = self._store.read(self._key)
            if found is None or parse_record(found.data).owner != record.owner:
                raise SupersededError(f"another run owns {self._key}") from error
            self._etag = found.etag
            raise TransientError(f"{self._key} was written by this run already") from error


@dataclass(frozen=True)
class RequestIdentity:
    """A CloudFormation request: where its record goes, its id, the resource's logical id, and when it was issued."""

    key_prefix: str
    request_id: str
    logical_id: str
    issued: float | None

    @property
    def key(self) -> str:
        return f"{self.key_prefix}{RUNS}{self.request_id}.json"


def issued_at(response_url: str) -> float | None:
    """Return when CloudFormation signed a ResponseURL, in seconds comparable for one resource, or None if unknown.

    Events carry no time and arrive in any order, but a Create that arrives after the Delete that followed it must not
    stage. The signature holds `X-Amz-Date` (version 4), or `Expires` (version 2), a fixed time later.
    """
    fields = parse_qs(urlsplit(response_url).query)
    try:
        if "X-Amz-Date" in fields:
            signed = datetime.strptime(fields["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ")
            return signed.replace(tzinfo=UTC).timestamp()
        expires = float(fields["Expires"][0])
        return expires if math.isfinite(expires) else None
    except (KeyError, ValueError):
        return None


def acquire(store: Store, request: RequestIdentity, owner: str, wait: RetryBudget, budget: RetryBudget) -> Lease:
    """Wait for the request's lease and take it; `owner` is this run's unique name.

    `wait` bounds the wait; the lease itself uses `budget`, which lasts until a journal is saved.

    Raises SupersededError if the request is finished, or another run still holds it at the end of the wait.
    """
    while wait.clock.now() < wait.deadline:
        lease = retry(wait, lambda: _try_acquire(store, request, owner, budget))
        if isinstance(lease, Lease):
            return lease
        wait.clock.sleep(min(lease, _POLL_S))
    raise SupersededError(f"another run holds request {request.request_id}; if it dies, Lambda runs it again")


def _try_acquire(store: Store, request: RequestIdentity, owner: str, budget: RetryBudget) -> Lease | float:
    """Return the lease, or for how many seconds another run still holds it."""
    now = budget.clock.now()
    found = store.read(request.key)
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
        etag = store.write(request.key, record.to_bytes(), found.etag if found else None)
    except ConflictError:
        return 0.0  # another run was faster, or the reply to an own write was lost: read again
    return Lease(store, request.key, record, etag, budget)
