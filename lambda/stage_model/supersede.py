"""A resource's later request ends what earlier ones still do: a Delete during a Create, a rollback during an Update."""

import re
from collections.abc import Collection
from dataclasses import replace

from stage_model.discard import discard, remove
from stage_model.errors import ConflictError, SupersededError
from stage_model.lease import Lease
from stage_model.patience import Patience, persist
from stage_model.run_record import RUNS, RunRecord, parse_record
from stage_model.store import Store

_MODEL = re.compile(r"[0-9a-f]{64}/(model\.tar\.gz|model/)")


def end_other_runs(store: Store, key_prefix: str, lease: Lease, patience: Patience) -> None:
    """End every earlier request of this resource that has not ended, and remove what it was making.

    First its record is taken from it, so that it can begin nothing new; then its uploads are dropped, so that it can
    complete nothing; then objects that it completed are deleted, which CloudFormation never heard of.

    Raises SupersededError if this request is not the latest: it was delivered after the one that followed it. Each
    request writes its record before it looks for others, so of two at least one sees the other.
    """
    others = _others(store, key_prefix, lease.record, patience)
    if any(record.issued > lease.record.issued for _, record in others):
        lease.save(state="superseded")  # the later one removes what the journal tells of
        raise SupersededError("a later request of this resource has come first")
    for key, _ in others:
        record = _end(store, key, lease.record, patience)
        if record is None:
            continue
        discard(store, record, lease, patience)
        _forget_journal(store, key, patience)


def remove_unheard(store: Store, key_prefix: str, lease: Lease, spared: Collection[str], patience: Patience) -> None:
    """Remove models of this resource that CloudFormation never took note of; `spared` are physical ids that it knows.

    A request that CloudFormation gave up may have been done nevertheless: its answer came too late.
    """
    for _, record in _others(store, key_prefix, lease.record, patience):
        made = (record.answer or {}).get("physical_id", "")
        if made not in spared:
            remove_model(store, key_prefix, made, lease, patience)


def remove_model(store: Store, key_prefix: str, physical_id: str, lease: Lease, patience: Patience) -> None:
    """Delete a staged model; a physical id that is not one of this key prefix's models is left alone."""
    if is_model(key_prefix, physical_id):
        remove(store, physical_id, lease, patience)


def is_model(key_prefix: str, physical_id: str) -> bool:
    """Return whether a physical id is a model staged under the key prefix."""
    own = physical_id.startswith(key_prefix)
    return own and _MODEL.fullmatch(physical_id[len(key_prefix) :]) is not None


def _others(store: Store, key_prefix: str, own: RunRecord, patience: Patience) -> list[tuple[str, RunRecord]]:
    """Return the other requests of the same resource, with their records' keys."""
    keys = persist(patience, lambda: store.keys(f"{key_prefix}{RUNS}"))
    found = [(key, persist(patience, lambda key=key: store.read(key))) for key in keys]
    records = [(key, parse_record(versioned.data)) for key, versioned in found if versioned is not None]
    return [(k, r) for k, r in records if r.logical_id == own.logical_id and r.request_id != own.request_id]


def _end(store: Store, key: str, by: RunRecord, patience: Patience) -> RunRecord | None:
    """Mark a record as superseded; return it if its work is still to be removed."""

    def attempt() -> RunRecord | None:
        found = store.read(key)
        if found is None:
            return None
        record = parse_record(found.data)
        if record.state == "running":
            record = replace(record, state="superseded", owner=by.owner)
            store.write(key, record.to_bytes(), found.etag)
        return record if record.journal is not None else None

    while True:
        try:
            return persist(patience, attempt)
        except ConflictError:
            patience.check_deadline()  # its run has just saved its journal: look again


def _forget_journal(store: Store, key: str, patience: Patience) -> None:
    def attempt() -> None:
        found = store.read(key)
        if found is not None:
            store.write(key, replace(parse_record(found.data), journal=None).to_bytes(), found.etag)

    try:
        persist(patience, attempt)
    except ConflictError:
        return  # a second run of the same request has just done it
