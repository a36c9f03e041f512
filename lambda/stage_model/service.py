"""One invocation, from event to answer: take the request, do it, say so once; or hand it over."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from stage_model.answer import Answer
from stage_model.clock import Clock
from stage_model.discard import discard
from stage_model.errors import OutOfTimeError, StagingError, StalledError, SupersededError
from stage_model.lease import Lease, Request, acquire
from stage_model.lifecycle import Lifecycle, StageRequest, failure, place_of
from stage_model.patience import Patience
from stage_model.run_record import issued_at
from stage_model.store import Store
from stage_model.supersede import end_other_runs

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,128}")
SERVICE_S = 3600.0  # how long CloudFormation waits for an answer, at most
_ANSWER_S = 180.0  # of these are kept for saying that there is no model: a run that dies then is run again in time


@dataclass(frozen=True)
class Invocation:
    """What an invocation works with.

    `work` ends early enough before `patience` that the journal can be written and the next invocation begun.
    """

    owner: str
    clock: Clock
    work: Patience
    patience: Patience
    open_store: Callable[[str], Store]
    stage: Callable[[Store, Patience], StageRequest]
    send: Callable[[Mapping[str, Any], Answer], None]
    hand_over: Callable[[Mapping[str, Any]], None]


def serve(event: Mapping[str, Any], invocation: Invocation) -> None:
    """Serve one event of `Custom::StagedModel`, delivered for the first time or again."""
    try:
        place = place_of(event)
        if not _REQUEST_ID.fullmatch(str(event.get("RequestId", ""))):
            raise StagingError(f"RequestId must match {_REQUEST_ID.pattern}, got {event.get('RequestId')!r}")
    except StagingError as error:
        # Without a place nothing was ever staged: a stack must be able to go, and needs to hear why it cannot come.
        deleting = event.get("RequestType") == "Delete"
        answer = failure(event, str(error))
        invocation.send(event, Answer(answer.physical_id) if deleting else answer)
        return
    store = invocation.open_store(place.bucket)
    try:
        waiting, patience = invocation.work, invocation.patience
        logical_id, issued = str(event.get("LogicalResourceId", "")), issued_at(str(event.get("ResponseURL", "")))
        request = Request(place.key_prefix, event["RequestId"], logical_id, issued)
        lease = acquire(store, request, invocation.owner, waiting, patience)
        _serve_or_hand_over(event, invocation, store, lease)
    except SupersededError as error:
        _log.info("nothing left to do: %s", error)
    except StalledError:  # the record was out of reach: Lambda runs the event again, or another run has it in hand
        raise
    except StagingError as error:  # the record may not be read or written, ever: not even that can be told but now
        invocation.send(event, failure(event, str(error)))


def _serve_or_hand_over(event: Mapping[str, Any], invocation: Invocation, store: Store, lease: Lease) -> None:
    """Only a run that holds the request hands it over; waiting ones leave, or duplicates would breed duplicates."""
    try:
        _serve_held(event, invocation, store, lease)
    except OutOfTimeError:
        _log.info("handing over to a fresh invocation")
        invocation.hand_over(event)


def _serve_held(event: Mapping[str, Any], invocation: Invocation, store: Store, lease: Lease) -> None:
    if lease.record.state == "running":
        _finish(event, invocation, store, lease)
    answer = Answer(**(lease.record.answer or {}))
    _log.info("%s of %s: %s", event.get("RequestType"), answer.physical_id, answer.reason or "done")
    invocation.send(event, answer)
    _note_answered(lease)


def _finish(event: Mapping[str, Any], invocation: Invocation, store: Store, lease: Lease) -> None:
    """Do the request, or find that it is too late for it, and write the answer down.

    Raises OutOfTimeError when there is nothing to answer yet, and time for another invocation.
    """
    record = lease.record
    last = min(record.issued, record.started) + SERVICE_S - _ANSWER_S  # a signature may tell a later time than its own
    work = replace(invocation.work, deadline=min(invocation.work.deadline, last))
    try:
        answer = _perform(event, replace(invocation, work=work), store, lease)
    except OutOfTimeError as error:
        if invocation.clock.now() < last:
            lease.release()
            raise
        cause = f": {error.__cause__}" if error.__cause__ else ""
        answer = failure(event, f"staging did not finish within {SERVICE_S:.0f} s{cause}")
        # The journal stays, by which the request that follows removes what this one was making.
        lease.save(state="done", answer=asdict(answer))
    else:
        lease.save(state="done", answer=asdict(answer), journal=None)


def _note_answered(lease: Lease) -> None:
    """Keep a repetition of the event from sending the answer again; where that fails, it will, and no harm is done."""
    try:
        lease.save(state="answered")
    except StagingError as error:
        _log.info("the answer is sent, and could not be noted: %s", error)


def _perform(event: Mapping[str, Any], invocation: Invocation, store: Store, lease: Lease) -> Answer:
    try:
        return _do(event, invocation, store, lease)
    except (OutOfTimeError, SupersededError):
        raise
    except StagingError as error:
        reason = str(error)
    except Exception as error:  # CloudFormation would wait an hour for an answer that never comes
        _log.exception("unforeseen error")
        reason = f"unforeseen {type(error).__name__}; the function's log has the details"
    discard(store, lease.record, lease, invocation.patience)
    return failure(event, reason)


def _do(event: Mapping[str, Any], invocation: Invocation, store: Store, lease: Lease) -> Answer:
    end_other_runs(store, place_of(event).key_prefix, lease, invocation.work)
    stage = invocation.stage(store, invocation.work)
    return Lifecycle(stage, store, invocation.work).perform(event, lease)
