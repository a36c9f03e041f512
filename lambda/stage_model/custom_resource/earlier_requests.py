"""What requests leave behind: a later request ends earlier ones in progress and deletes models that nobody refers to.

Examples are a Delete during a Create, and a rollback during an Update.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import replace

from stage_model.custom_resource.run_record import RUNS, Lease, RunRecord, parse_record
from stage_model.errors import ConflictError, SupersededError
from stage_model.upload.stager import StagingContext

_MODEL = re.compile(r"[0-9a-f]{64}/(model\.tar\.gz|model/)")


def end_earlier_requests(context: StagingContext, key_prefix: str, lease: Lease) -> None:
    """End every unfinished earlier request of this resource, and delete what it was building.

    The order matters: mark its record, so that it starts nothing new; abort its uploads, so that it completes nothing;
    delete the objects it completed, which CloudFormation does not know of.

    Raises SupersededError if this request is not the latest, that is, its event arrived late. Each request writes its
    record before it looks for others, so of two at least one sees the other.
    """
    others = _other_requests(context, key_prefix, lease.record)
    if any(record.issued > lease.record.issued for _, record in others):
        lease.save(state="superseded")  # the later request cleans up what the journal names
        raise SupersededError("a later request of this resource has come first")
    for key, _ in others:
        record = _update(context, key, lambda old: _superseded(old, lease.record.owner))
        if record is not None and record.journal is not None:
            context.cleanup(record.journal)
            _update(context, key, lambda old: replace(old, journal=None))


def delete_unacknowledged(context: StagingContext, key_prefix: str, own: RunRecord, known: Collection[str]) -> None:
    """Delete models of this resource that CloudFormation does not know of; `known` are the physical ids it knows.

    A request that CloudFormation gave up on may have succeeded with a response that came too late.
    """
    for _, record in _other_requests(context, key_prefix, own):
        physical_id = (record.answer or {}).get("physical_id", "")
        if physical_id not in known and is_model(key_prefix, physical_id):
            context.delete_model(physical_id)


def is_model(key_prefix: str, physical_id: str) -> bool:
    """Return whether a physical id is that of a model staged under the key prefix."""
    return physical_id.startswith(key_prefix) and _MODEL.fullmatch(physical_id[len(key_prefix) :]) is not None


def _other_requests(context: StagingContext, key_prefix: str, own: RunRecord) -> list[tuple[str, RunRecord]]:
    """Return the other requests of the same resource, with the keys of their records."""
    keys = context.retry(lambda: context.store.keys(f"{key_prefix}{RUNS}"))
    found = [(key, context.retry(lambda key=key: context.store.read(key))) for key in keys]
    records = [(key, parse_record(versioned.data)) for key, versioned in found if versioned is not None]
    return [(k, r) for k, r in records if r.logical_id == own.logical_id and r.request_id != own.request_id]


def _superseded(record: RunRecord, by: str) -> RunRecord:
    return replace(record, state="superseded", owner=by) if record.state == "running" else record


def _update(context: StagingContext, key: str, change: Callable[[RunRecord], RunRecord]) -> RunRecord | None:
    """Change a record that other runs may be changing too; return the new one, or None if it does not exist."""

    def attempt() -> RunRecord | None:
        found = context.store.read(key)
        if found is None:
            return None
        before = parse_record(found.data)
        after = change(before)
        if after != before:
            context.store.write(key, after.to_bytes(), found.etag)
        return after

    while True:
        try:
            return context.retry(attempt)
        except ConflictError:
            context.budget.check_deadline()  # another run has just written it: read again
