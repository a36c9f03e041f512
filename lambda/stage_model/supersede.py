"""A resource's later request ends what earlier ones still do: a Delete during a Create, a rollback during an Update."""

from dataclasses import replace

from stage_model.errors import ConflictError
from stage_model.journal import Journal
from stage_model.lease import Lease
from stage_model.patience import Patience, persist
from stage_model.run_record import RUNS, RunRecord, parse_record
from stage_model.store import Store


def end_other_runs(store: Store, key_prefix: str, lease: Lease, patience: Patience) -> None:
    """End every other request of this resource that has not ended, and remove what it was making.

    First its record is taken from it, so that it can begin nothing new; then its uploads are dropped, so that it can
    complete nothing; then objects that it completed are deleted, which CloudFormation never heard of.
    """
    for key in persist(patience, lambda: store.keys(f"{key_prefix}{RUNS}")):
        record = _end(store, key, lease.record, patience)
        if record is None:
            continue
        journal = Journal.from_json(record.journal)
        for upload in journal.uploads:
            persist(patience, lambda u=upload: store.abort(u))
        for upload in journal.uploads:
            persist(patience, lambda u=upload: lease.delete(u.key))
        _forget_journal(store, key, patience)


def _end(store: Store, key: str, by: RunRecord, patience: Patience) -> RunRecord | None:
    """Mark a record as superseded; return it if its work is still to be removed."""

    def attempt() -> RunRecord | None:
        found = store.read(key)
        record = parse_record(found.data) if found is not None else by
        if found is None or record.request_id == by.request_id or record.started > by.started:
            return None
        if record.state == "running":
            record = replace(record, state="superseded", owner=by.owner)
            store.write(key, record.to_bytes(), found.etag)
        return record if record.state == "superseded" and record.journal is not None else None

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
