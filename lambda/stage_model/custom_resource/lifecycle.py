"""One event of `Custom::StagedModel`, from request to response: Create and Update stage a model, Delete deletes one.

A model that an Update replaced is deleted by CloudFormation's Delete for the old physical id.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from stage_model.custom_resource.earlier_requests import delete_unacknowledged, end_earlier_requests, is_model
from stage_model.custom_resource.run_record import RESPONSE_TIMEOUT_S, Lease, RequestIdentity, acquire, issued_at
from stage_model.errors import OutOfTimeError, StagingError, StalledError, SupersededError, TransientError
from stage_model.http import Connections, Request
from stage_model.request import (
    StagedModelRequest,
    check_event,
    parse_destination,
    parse_request,
    physical_id_of,
    properties_of,
    repeated_ids,
    shown,
)
from stage_model.retry import RetryBudget, SystemClock, retry
from stage_model.s3 import Store
from stage_model.upload.journal import Journal
from stage_model.upload.stager import StagedModel, StagingContext

_log = logging.getLogger(__name__)
_UNSTAGED = "unstaged"  # below the key prefix: the physical id while there is no model
# Of CloudFormation's limit, kept to report a failure: enough for a run that dies then to be retried.
_FAILURE_RESERVE_S = 180.0
_MAX_REASON = 1000  # bytes of JSON; CloudFormation accepts 4096 for the whole response


@dataclass(frozen=True)
class Response:
    """The outcome of a request; `reason` is None for success, else one sentence for the user."""

    physical_id: str
    reason: str | None = None
    data: Mapping[str, str] = field(default_factory=dict[str, str])


class Environment(Protocol):
    """The services that a run uses: AWS in the Lambda, in-memory ones in the simulation."""

    def open_store(self, bucket: str) -> Store: ...

    def stage(self, request: StagedModelRequest, context: StagingContext) -> StagedModel: ...

    def respond(self, event: Mapping[str, Any], response: Response) -> None: ...

    def continue_in_new_invocation(self, event: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Invocation:
    """A unique `owner`, and the retry budgets for work and, ending later, for the journal and the response."""

    owner: str
    work: RetryBudget
    budget: RetryBudget
    environment: Environment


def serve(event: Mapping[str, Any], invocation: Invocation) -> None:
    """Serve one event, delivered for the first time or again."""
    environment = invocation.environment
    try:
        check_event(event)
        destination = parse_destination(properties_of(event))
    except StagingError as error:
        # Nothing can have been staged: let a Delete succeed so that the stack can be deleted, and report all others.
        response = _failure(event, str(error))
        deleting = event.get("RequestType") == "Delete"
        environment.respond(event, Response(response.physical_id) if deleting else response)
        return
    store = environment.open_store(destination.bucket)
    issued = issued_at(event["ResponseURL"])
    identity = RequestIdentity(destination.key_prefix, event["RequestId"], event["LogicalResourceId"], issued)
    try:
        lease = acquire(store, identity, invocation.owner, invocation.work, invocation.budget)
        try:
            _serve_leased(event, invocation, store, lease)
        except OutOfTimeError:
            # Only the lease's holder starts a new invocation: if waiting runs did, duplicates would multiply.
            _log.info("continuing in a new invocation")
            environment.continue_in_new_invocation(event)
    except SupersededError as error:
        _log.info("nothing left to do: %s", error)
    except StalledError:  # the record is unreachable: Lambda retries the event, or another run holds it
        raise
    except StagingError as error:  # the record can never be read or written: report that now
        environment.respond(event, _failure(event, str(error)))


def _serve_leased(event: Mapping[str, Any], invocation: Invocation, store: Store, lease: Lease) -> None:
    if lease.record.state == "running":
        _finish(event, invocation, store, lease)
    response = Response(**(lease.record.answer or {}))
    _log.info("%r of %r: %s", event.get("RequestType"), response.physical_id, response.reason or "done")
    invocation.environment.respond(event, response)
    try:
        lease.save(state="answered")  # otherwise a repeated event sends the same response again, which is harmless
    except StagingError as error:
        _log.info("the response was sent but not recorded: %s", error)


def _finish(event: Mapping[str, Any], invocation: Invocation, store: Store, lease: Lease) -> None:
    """Perform the request, or find that it is too late, and record the response.

    Raises OutOfTimeError when there is no response yet, but time for another invocation.
    """
    record = lease.record
    # `min`, because a Signature Version 2 URL holds its expiry time, which is later.
    last = min(record.issued, record.started) + RESPONSE_TIMEOUT_S - _FAILURE_RESERVE_S
    work = replace(invocation.work, deadline=min(invocation.work.deadline, last))
    clock = work.clock
    try:
        response = _perform_or_clean_up(event, replace(invocation, work=work), store, lease)
    except OutOfTimeError as error:
        if clock.now() < last:
            lease.release()
            raise
        cause = f": {error.__cause__}" if error.__cause__ else ""
        response = _failure(event, f"staging did not finish within {RESPONSE_TIMEOUT_S:.0f} s{cause}")
        # The journal is kept, so that the next request can clean up.
        lease.save(state="done", answer=asdict(response), finished=clock.now())
    else:
        # A model that CloudFormation named in this request was known before.
        made = Journal.from_json(lease.journal).target == response.physical_id != physical_id_of(event)
        lease.save(state="done", answer=asdict(response), journal=None, finished=clock.now(), made=made)


def _perform_or_clean_up(event: Mapping[str, Any], invocation: Invocation, store: Store, lease: Lease) -> Response:
    try:
        return _perform(event, invocation.environment, StagingContext(store, lease, invocation.work), lease)
    except (OutOfTimeError, SupersededError):
        raise
    except StagingError as error:
        reason = str(error)
    except Exception as error:  # without a response CloudFormation would wait for an hour
        _log.exception("unexpected error")
        reason = f"unexpected {type(error).__name__}; see the function's log"
    StagingContext(store, lease, invocation.budget).cleanup(lease.journal)
    return _failure(event, reason)


def _perform(event: Mapping[str, Any], environment: Environment, context: StagingContext, lease: Lease) -> Response:
    key_prefix, kind = parse_destination(properties_of(event)).key_prefix, event.get("RequestType")
    physical_id = physical_id_of(event)
    end_earlier_requests(context, key_prefix, lease)
    if kind == "Delete":
        if is_model(key_prefix, physical_id):
            context.delete_model(physical_id)
        else:  # of a request that failed or was given up; another one's model may be live
            context.abort_uploads_under(key_prefix)
            delete_unacknowledged(context, key_prefix, lease.record, ())
        return Response(physical_id or f"{key_prefix}{_UNSTAGED}")
    if kind not in ("Create", "Update"):
        raise StagingError(f"RequestType must be Create, Update or Delete, got {shown(kind)}")
    request = parse_request(properties_of(event))
    staged = environment.stage(request, context)
    if kind == "Update":
        delete_unacknowledged(context, key_prefix, lease.record, {staged.key, physical_id})
    data = {
        "ModelDataUrl": f"s3://{request.model_bucket}/{staged.key}",
        "Digest": staged.key.removeprefix(request.key_prefix).partition("/")[0],
        "Bytes": str(staged.size),
        "Revision": request.revision,
    }
    return Response(staged.key, None, data)


def _failure(event: Mapping[str, Any], reason: str) -> Response:
    """Return a failed response with the old physical id, or for a Create one whose Delete removes only leftovers."""
    try:
        key_prefix = parse_destination(properties_of(event)).key_prefix
    except StagingError:
        key_prefix = ""
    return Response(physical_id_of(event) or f"{key_prefix}{_UNSTAGED}", reason)


def send_response(event: Mapping[str, Any], response: Response, connections: Connections, deadline: float) -> None:
    """PUT the response to the event's ResponseURL, retrying until `deadline` (epoch seconds).

    Raises OutOfTimeError if it was not accepted by then.
    """
    document: dict[str, object] = {
        "Status": "SUCCESS" if response.reason is None else "FAILED",
        "PhysicalResourceId": response.physical_id,
        **repeated_ids(event),
        "Data": dict(response.data),
    }
    if response.reason is not None:
        reason = response.reason[:_MAX_REASON]
        while len(json.dumps(reason)) > _MAX_REASON:  # a character takes up to twelve bytes of JSON
            reason = reason[:-10]
        document["Reason"] = reason
    body = json.dumps(document).encode()
    # The URL is signed for an empty content type.
    request = Request("PUT", event["ResponseURL"], {"Content-Type": "", "Content-Length": str(len(body))}, body)

    budget = RetryBudget(SystemClock(), deadline, stall_s=math.inf)

    def put() -> None:
        with connections.exchange(request, budget) as exchange:
            exchange.read()
            if exchange.response.status not in (200, 204):
                raise TransientError(f"CloudFormation's address answered {exchange.response.status}")

    retry(budget, put)
