"""Run jobs so that none is lost and none generated twice, however often the process is killed (docs/client.md).

SageMaker does not deduplicate inference ids, so whether to send is decided from the journal:

- `planned`: no attempt was made, or every attempt was refused by AWS. Send.
- `sending`: a call was about to be made, and nobody knows whether it was. Await it like a sent one. Only when its time
  to live and its time limit have passed without a trace can it neither wait nor run any more: then send it again.
- `sent`: AWS accepted it. Await it; if its time passes, it expired.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from musicgen_client import journal as events
from musicgen_client.aws import Throttled
from musicgen_client.errors import (
    MusicGenError,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    RequestRefused,
    SendInDoubt,
    WaitTimeout,
)
from musicgen_client.journal import Journal, Record
from musicgen_client.requests.request import Request, job_id
from musicgen_client.transport import Result, Transport, is_transient, parse_failure

DEFAULT_TTL = 3600  # seconds that a request may wait; covers an endpoint that wakes
DEFAULT_TIME_LIMIT = 900  # seconds that it may run: SageMaker's default
MARGIN = 120.0  # seconds for redelivery and the clock's corrections before an attempt counts as gone
_FIRST_POLL, _POLL_GROWTH, _MAX_POLL = 0.5, 1.4, 5.0  # seconds
# Stages of progress.json (docs/api.md): what they are for a job whose answer is not there yet. SageMaker publishes it
# a moment after the container has written the last one.
FINISHED = ("completed", "refused", "failed", "expired", "cancelled")  # the stages of a job that has ended
_STAGES = {
    "queued": "queued",
    "generating": "generating",
    "uploading": "uploading",
    **dict.fromkeys(("done", "failed", "cancelled"), "finishing"),
}
_ERRORS: dict[str, type[RequestFailed]] = {
    "refused": RequestRefused,
    "failed": RequestFailed,
    "expired": RequestExpired,
    "cancelled": RequestCancelled,
}


@dataclass(frozen=True)
class Limits:
    """How long a request may wait in the queue and run (seconds), and how many are in flight at once."""

    ttl: int = DEFAULT_TTL
    time_limit: int = DEFAULT_TIME_LIMIT
    margin: float = MARGIN
    window: int = 16
    outage: float = 600.0  # seconds of failing calls until the run gives up; the journal continues it later


@dataclass(frozen=True)
class Update:
    """A change of a job's state, for displays.

    `stage` is planned, queued, in doubt, retrying, generating, uploading, finishing (the container has answered,
    SageMaker has not), or how the job ended: completed, refused, failed, expired, cancelled.
    """

    job: str
    stage: str
    percent: float | None = None
    detail: str = ""


@dataclass
class _Poll:
    """When to look for a job's result next."""

    at: float
    delay: float = _FIRST_POLL
    stage: str = ""


class Runner:
    """Sends and awaits the jobs of one journal."""

    def __init__(
        self,
        transport: Transport,
        journal: Journal,
        limits: Limits | None = None,
        *,
        on_update: Callable[[Update], None] = lambda _: None,
        queue_url: str | None = None,
        clock: Callable[[], float] = time.time,  # wall time: it must go on while the process does not run
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport, self._journal = transport, journal
        self._limits = limits or Limits()
        self._on_update, self._queue_url = on_update, queue_url
        self._clock, self._sleep = clock, sleep
        self._polls: dict[str, _Poll] = {}
        self._outage_since: float | None = None

    def plan(self, job: str, request: Request, label: dict[str, Any] | None = None) -> Record:
        """Write down that a job is wanted; the journal must not have it yet."""
        body = json.loads(request.body())
        return self._journal.append(events.PLANNED, job, at=self._clock(), request=body, label=label or {})

    def run(
        self, requests: Iterable[tuple[str, Request, dict[str, Any]]], *, timeout: float | None = None
    ) -> Iterator[Record]:
        """Yield each job's record when it has a result; unfinished jobs of the journal first.

        `requests` are (id, request, label) and read only as the window has room; finished ones are skipped. The caller
        appends SAVED once it has stored the music. Raises WaitTimeout after `timeout` seconds without an end, and
        ServiceError if AWS fails for ten minutes; the journal continues either run.
        """
        deadline = None if timeout is None else self._clock() + timeout
        source = iter(requests)
        waiting = deque(self._journal.records.values())
        exhausted = False
        active: dict[str, Record] = {}
        while True:
            while len(active) < self._limits.window and not (exhausted and not waiting):
                record = waiting.popleft() if waiting else self._next_planned(source, active)
                if record is None:
                    exhausted = True
                elif record.unsaved:
                    yield record
                else:
                    active[record.id] = record
                    self._polls[record.id] = _Poll(self._clock())
            if not active:
                return
            for record in self._step(active):
                del active[record.id], self._polls[record.id]
                yield record
            if deadline is not None and self._clock() >= deadline and active:
                names = ", ".join(list(active)[:3]) + ("…" if len(active) > 3 else "")
                raise WaitTimeout(f"no result of {names} within {timeout:g} s; the endpoint goes on with it")
            self._pause(active, deadline)

    def _next_planned(self, source: Iterator[Any], active: dict[str, Record]) -> Record | None:
        for job, request, label in source:
            if job not in self._journal and job not in active:
                self._update(job, "planned")
                return self.plan(job, request, label)
        return None

    def _step(self, active: dict[str, Record]) -> list[Record]:
        """Send and look once for every job that is due; return those with a result."""
        done: list[Record] = []
        for record in list(active.values()):
            poll = self._polls[record.id]
            if not record.open:  # a message has reported it
                done.append(record)
                continue
            if poll.at > self._clock():
                continue
            try:
                record = self._send(record) if record.event == events.PLANNED else self._look(record, poll)
                self._outage_since = None
            except MusicGenError as error:
                self._tolerate(error)
                self._update(record.id, "retrying", detail=str(error))
                self._later(poll)
                if isinstance(error, Throttled):
                    break
                continue
            active[record.id] = record
            if record.open:
                self._later(poll)
            else:
                done.append(record)
        return done

    def _send(self, record: Record) -> Record:
        """Make one attempt to queue a planned job."""
        body = Request.from_body(record.request).body()
        # An upload has no effect on the queue, so it comes before the point from which the job may be queued.
        location = self._transport.upload(record.id, body) if self._transport.needs_upload(body) else None
        limits, now = self._limits, self._clock()
        self._journal.append(
            events.SENDING,
            record.id,
            at=now,
            expires_at=now + limits.ttl + limits.time_limit + limits.margin,
            output=self._transport.expected_output(record.id),
        )
        try:
            sent = self._transport.send(
                record.id, body, location=location, ttl=limits.ttl, time_limit=limits.time_limit
            )
        except SendInDoubt as error:
            self._update(record.id, "in doubt", detail=str(error))
            return self._journal.records[record.id]
        except MusicGenError:
            self._plan_again(record)  # AWS refused the call: certainly not queued
            raise
        self._update(record.id, "queued")
        return self._journal.append(events.SENT, record.id, output=sent.output, failure=sent.failure)

    def _plan_again(self, record: Record) -> Record:
        return self._journal.append(
            events.PLANNED, record.id, at=record.planned_at, request=record.request, label=record.label
        )

    def _look(self, record: Record, poll: _Poll) -> Record:
        """Look for the result of a job that is, or may be, queued or running."""
        result = self._transport.look(record.output, record.failure)
        if result is None:
            return self._still_open(record, poll)
        if result.status == "refused" and record.request.get("progress") and '"progress"' in (result.error or ""):
            # An older endpoint does not know the field and has refused, so nothing was generated.
            record.request = {name: value for name, value in record.request.items() if name != "progress"}
            return self._plan_again(record)
        return self._finish(record, result)

    def _still_open(self, record: Record, poll: _Poll) -> Record:
        if self._clock() >= record.expires_at:
            if record.event == events.SENDING and not self._transport.started(record.id):
                return self._plan_again(record)  # without a trace, and no longer queued or running
            reason = "the request was neither answered nor refused within its time to live and its time limit"
            return self._finish(record, Result("expired", {}, reason))
        stage = "queued" if record.event == events.SENT else "in doubt"
        percent: float | None = None
        if record.request.get("progress") and (progress := self._transport.progress(record.id)):
            stage, percent = _STAGES.get(progress.stage, stage), progress.percent
        elif poll.delay >= _MAX_POLL and self._transport.started(record.id):
            stage = "generating"
        self._update(record.id, stage, percent)
        return record

    def _finish(self, record: Record, result: Result) -> Record:
        record = self._journal.append(
            events.RESULT, record.id, status=result.status, response=result.response, error=result.error
        )
        self._update(record.id, result.status, detail=result.error or "")
        return record

    def _tolerate(self, error: MusicGenError) -> None:
        """Continue after a passing fault, for ten minutes; raise every other error."""
        now = self._clock()
        self._outage_since = self._outage_since or now
        if not is_transient(error) or now - self._outage_since > self._limits.outage:
            raise error

    def _later(self, poll: _Poll) -> None:
        poll.at = self._clock() + poll.delay
        poll.delay = min(_MAX_POLL, poll.delay * _POLL_GROWTH)

    def _pause(self, active: dict[str, Record], deadline: float | None) -> None:
        """Wait until a job is due, or until a message of the queue reports one."""
        if not active:
            return
        now = self._clock()
        due = min(self._polls[job].at for job in active)
        seconds = max(0.0, min(due, deadline or due) - now)
        if not self._queue_url:
            self._sleep(seconds)
            return
        for job, event in self._transport.receive(self._queue_url, max(1, round(seconds))).items():
            if job in active:
                self._notified(active[job], event)

    def _notified(self, record: Record, event: dict[str, Any]) -> None:
        """Learn from a message where a job's result is; it is read at the next step."""
        parameters: dict[str, Any] = event.get("responseParameters") or {}
        output = parameters.get("outputLocation", record.output)
        failure = parameters.get("failureLocation", record.failure)
        if record.event == events.SENDING or (output, failure) != (record.output, record.failure):
            self._journal.append(events.SENT, record.id, output=output, failure=failure)
        if event.get("invocationStatus") in ("Failed", "Expired") and not failure:  # without a failure path
            reason = str(event.get("failureReason", "no reason given"))
            result = parse_failure(reason.encode())
            status = "expired" if event["invocationStatus"] == "Expired" else result.status
            self._finish(record, Result(status, {}, result.error))
        self._polls[record.id].at = self._clock()

    def _update(self, job: str, stage: str, percent: float | None = None, detail: str = "") -> None:
        poll = self._polls.get(job)
        if poll is None or (stage, percent) != (poll.stage, None):
            self._on_update(Update(job, stage, percent, detail))
        if poll is not None:
            poll.stage = stage


def state_of(transport: Transport, record: Record) -> Update:
    """Return where a job is, by one look and without its journal, which another process may be using."""
    if not record.open:
        return Update(record.id, record.status or record.event, detail=record.error or "")
    if result := transport.look(record.output, record.failure):
        return Update(record.id, result.status, detail=result.error or "")
    if record.event == events.PLANNED:
        return Update(record.id, "planned")
    stage = "queued" if record.event == events.SENT else "in doubt"
    if progress := transport.progress(record.id):
        return Update(record.id, _STAGES.get(progress.stage, stage), progress.percent)
    return Update(record.id, "generating" if transport.started(record.id) else stage)


def raise_unless_completed(record: Record) -> None:
    """Raise the exception of a job that ended without music, with the container's message."""
    if record.status != "completed":
        raise _ERRORS.get(record.status or "", RequestFailed)(record.error or "no reason given")


def batch(
    requests: Iterable[tuple[Request, dict[str, Any]]], salt: str
) -> Iterator[tuple[str, Request, dict[str, Any]]]:
    """Give each request of a batch an id that is the same in every run: of its content and its count among equals."""
    seen: Counter[str] = Counter()
    for request, label in requests:
        key = job_id(request.body(), salt)
        seen[key] += 1
        job = job_id(request.body(), f"{salt}/{seen[key]}")
        # The seed, too, has to be the same in every run.
        yield job, request if request.seed is not None else request.with_seed(int(job[1:9], 16)), label
