"""What requests leave behind: a later request ends earlier ones in progress and deletes models reported too late.

Examples are a Delete during a Create, and a rollback during an Update.
"""

import logging
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from stage_model.custom_resource.run_record import RESPONSE_TIMEOUT_S, RUNS, Lease, RunRecord, parse_record
from stage_model.errors import ConflictError, SupersededError
from stage_model.upload.stager import StagingContext

_log = logging.getLogger(__name__)
# CloudFormation's signing times are whole seconds; its clock and Lambda's may differ by as much again.
CLOCK_MARGIN_S = 2.0
# The lifecycle rule expires records a day after their last change at the earliest: younger than that, no record of a
# later request is missing.
_RECENT_S = 23 * 3600.0
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
    """Delete models whose response certainly came too late for CloudFormation; `known` are kept in any case.

    A model that CloudFormation knows is deleted only by a request that names it. Neither the physical id of this
    request nor a missing record shows what CloudFormation knows: a failed resource is also cleaned up after another
    Create has succeeded, and records expire. So a model is deleted only if the request that made it had no response
    to send before CloudFormation gave up on it, and no later request may have returned the same model. A response that
    may have been on its way by then counts as received.
    """
    others = [record for _, record in _other_requests(context, key_prefix, own)]
    everyone = [own, *others]
    late = [record for record in others if _came_too_late(record, everyone)]
    for maker in late:
        physical_id = _staged(maker)
        returned_since = any(
            record.issued >= maker.issued and _staged(record) == physical_id and record not in late for record in others
        )
        recent = maker.finished is not None and maker.finished > context.budget.clock.now() - _RECENT_S
        if not maker.made or physical_id in known or not is_model(key_prefix, physical_id):
            continue
        if returned_since or not recent:
            _log.info("keeping %r: a later request may have returned it", physical_id)
            continue
        _log.info("deleting %r: its response came too late for CloudFormation", physical_id)
        context.delete_model(physical_id)


def _came_too_late(record: RunRecord, requests: Sequence[RunRecord]) -> bool:
    """Return whether CloudFormation had certainly given up on a request before its response could be sent.

    It sends one request per resource at a time, so the next one shows that it no longer waits for this one.
    """
    if record.finished is None:
        return False
    later = [other.issued for other in requests if other.issued > record.issued]
    return record.finished > min([record.issued + RESPONSE_TIMEOUT_S, *later]) + CLOCK_MARGIN_S


def _staged(record: RunRecord) -> str:
    """Return the model that a request's response reports as staged, sent or not; empty if there is none."""
    answer = record.answer or {}
    return answer.get("physical_id", "") if answer.get("data") and answer.get("reason") is None else ""


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
