"""Follow the requests that ask for it: write their progress to S3, and look there for their cancellation.

One thread writes and another looks, for all requests together; neither is the engine's, nor one that answers a request.
A slow or failing S3 therefore costs a request its progress and its cancellation, and delays its start by at most
`FIRST_CHECK_SECONDS`. docs/api.md, "Progress and cancellation", is the contract.
"""

import heapq
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from musicgen_serving.audio_upload import AudioStore, S3Client, UploadError
from musicgen_serving.engine.errors import RequestCancelledError
from musicgen_serving.json_log import JsonLog

if TYPE_CHECKING:  # it imports torch, which takes seconds; the server answers /ping before
    from musicgen_serving.engine.request import Request

WRITE_SECONDS = 2.0
LOOK_SECONDS = 1.0  # 64 requests at 10 ms each add 0.6 s, which leaves a cancellation within 2 s
FIRST_CHECK_SECONDS = 1.0
MAX_UNWRITTEN = 256  # requests whose end is yet to be written: beyond, S3 is slower than they end, and the oldest go
JSON_TYPE = "application/json"
# Without s3:ListBucket, which the role has not, S3 answers 403 for an object that does not exist.
ABSENT = (403, 404)


class TrackingS3(S3Client, Protocol):
    """The two methods of boto3's S3 client that are used."""

    def head_object(self, *, Bucket: str, Key: str) -> object: ...  # noqa: N803


class Progress:
    """How far a request is, written by the threads that work on it and read by the tracker's."""

    def __init__(self, inference_id: str, bucket: str, clips: int) -> None:
        self.inference_id = inference_id
        self.bucket = bucket  # that of the audio
        self.clips = clips
        self.clips_done = 0  # generated and decoded
        self.looked = threading.Event()  # whether the tracker has looked for a cancellation
        self.written: dict[str, object] | None = None  # the last state that was, without its time
        self._lock = threading.Lock()
        self._request: Request | None = None
        self._percent = 0
        self._stage = "queued"
        self._cancelled = False

    @property
    def ended(self) -> bool:
        return self._stage in ("done", "failed", "cancelled")

    @property
    def cancellable(self) -> bool:
        """Whether clips are yet to be generated."""
        return self._stage == "queued"

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def observe(self, request: "Request") -> None:
        """Follow the engine's request, which fails at once if it has been cancelled."""
        with self._lock:
            self._request = request
            if self._cancelled:
                request.fail(RequestCancelledError())

    def cancel(self) -> None:
        """Fail the engine's request, now or once there is one: its clips leave their slots before the next step.

        Without effect once all clips are generated, which may happen while S3 answers.
        """
        with self._lock:
            if not self.cancellable:
                return
            self._cancelled = True
            if self._request:
                self._request.fail(RequestCancelledError())

    def upload(self) -> None:
        """Note that all clips are generated: a cancellation has no effect any more."""
        self._leave("uploading", 100)

    def end(self, error: BaseException | None = None) -> None:
        """Note how the request ended; `error` is None if it succeeded."""
        if error is None:
            self._leave("done", 100)
        else:
            stage = "cancelled" if isinstance(error, RequestCancelledError) else "failed"
            self._leave(stage, self._current_percent())

    def state(self) -> dict[str, object]:
        """Return the fields of progress.json but `updated`."""
        with self._lock:
            started = self._request is not None and self._request.started
            stage = "generating" if self._stage == "queued" and started else self._stage
            percent = self._current_percent()
        return {"stage": stage, "percent": percent, "clips_done": self.clips_done, "clips": self.clips}

    def _leave(self, stage: str, percent: int) -> None:
        """Enter a stage after generation, and let go of the engine's request with its codes."""
        with self._lock:
            self._stage, self._percent, self._request = stage, percent, None

    def _current_percent(self) -> int:
        request = self._request
        return self._percent if request is None else min(99, int(100 * request.fraction))


class RequestTracker:
    """Writes the progress of requests, and fails those for which `cancel/<inference id>` is in the output bucket.

    Only the output bucket is looked at: of others, the endpoint's role may read no cancellations. Each kind of failure
    is logged once.
    """

    def __init__(self, client: TrackingS3, output_bucket: str, log: JsonLog) -> None:
        self._client = client
        self._output_bucket = output_bucket
        self._store = AudioStore(client, ())
        self._log = log
        self._logged: set[tuple[str, str, str]] = set()
        self._writer = Rounds("progress", WRITE_SECONDS, self._write, log)
        self._looker = Rounds("cancellation", LOOK_SECONDS, self._look, log)

    def follow(self, progress: Progress) -> None:
        """Follow a request until it ends; RequestCancelledError if it has been cancelled already.

        Waits for the first look, so that a cancelled request costs no time on the device, but not for a slow S3.
        """
        self._writer.add(progress)
        self._looker.add(progress)
        progress.looked.wait(FIRST_CHECK_SECONDS)
        if progress.cancelled:
            raise RequestCancelledError

    def stop(self) -> None:
        """End both threads after the call that each is in; states that are not written yet are dropped."""
        self._writer.stop()
        self._looker.stop()

    def _write(self, progress: Progress) -> bool:
        """Write the current state unless it is that of the last write; return whether another may follow.

        States in between are never written, nor is one for a second time if S3 fails.
        """
        ended, state = progress.ended, progress.state()
        if state != progress.written:
            progress.written = state
            updated = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            key = f"audio/{progress.inference_id}/progress.json"
            try:
                self._store.put(progress.bucket, key, json.dumps({**state, "updated": updated}).encode(), JSON_TYPE)
            except UploadError as error:
                self._log_once("progress_not_written", progress, progress.bucket, str(error).rsplit(": ", 1)[-1])
        return not ended

    def _look(self, progress: Progress) -> bool:
        """Cancel the request if its cancellation is there; return whether to look again."""
        if not progress.cancellable:
            return False
        try:
            self._client.head_object(Bucket=self._output_bucket, Key=f"cancel/{progress.inference_id}")
            progress.cancel()
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status not in ABSENT:
                self._log_once("cancellation_unknown", progress, self._output_bucket, f"status {status}")
        except BotoCoreError as error:
            self._log_once("cancellation_unknown", progress, self._output_bucket, type(error).__name__)
        progress.looked.set()
        return not progress.cancelled

    def _log_once(self, event: str, progress: Progress, bucket: str, reason: str) -> None:
        if (event, bucket, reason) not in self._logged:
            self._logged.add((event, bucket, reason))
            self._log.write(event, bucket=bucket, error=reason, inference_id=progress.inference_id)


class Rounds:
    """A thread that visits each request again and again, at most every `seconds`, until `visit` returns False.

    A new request comes first, then the one whose visit is due longest. It starts with the first request, and is a
    daemon, so a call that hangs does not keep the process alive.
    """

    def __init__(self, name: str, seconds: float, visit: Callable[[Progress], bool], log: JsonLog) -> None:
        self._seconds = seconds
        self._visit = visit
        self._log = log
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Progress]] = []  # a heap: when, a number that makes it unique, what
        self._count = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __len__(self) -> int:
        return len(self._due)

    def add(self, progress: Progress) -> None:
        """Visit a request as soon as possible; if too many are waiting, drop the first due of those that have ended."""
        with self._changed:
            if len(self._due) >= MAX_UNWRITTEN and (ended := [entry for entry in self._due if entry[2].ended]):
                self._due.remove(min(ended))
                heapq.heapify(self._due)
            self._push(0.0, progress)
            if self._thread.ident is None:
                self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _push(self, when: float, progress: Progress) -> None:
        self._count += 1
        heapq.heappush(self._due, (when, self._count, progress))
        self._changed.notify()

    def _run(self) -> None:
        while (progress := self._next()) is not None:
            try:
                again = self._visit(progress)
            except Exception as error:  # of a bug: the request goes on without it, and so do the others
                self._log.exception("tracking_fault", error, inference_id=progress.inference_id)
                again = False
            if again:
                with self._changed:
                    self._push(time.monotonic() + self._seconds, progress)

    def _next(self) -> Progress | None:
        """Wait for a visit that is due; return None if there are to be no more."""
        with self._changed:
            while not self._stopping:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None
