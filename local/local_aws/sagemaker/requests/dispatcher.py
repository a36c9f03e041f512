"""Delivers an endpoint's requests to one instance, as many at once as the endpoint configuration allows."""

import http.client
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.sagemaker.instances.execution_role import RoleSession
from local_aws.sagemaker.requests.invocation_request import AsyncRequest
from local_aws.sagemaker.requests.request_queue import RequestQueue
from local_aws.sagemaker.requests.results import ResultWriter

_log = logging.getLogger(__name__)
_MAX_DELIVERIES = 3  # then the request, not the container, is taken for the cause of the crashes
_MAX_BODY_BYTES = 2**30  # AWS: an asynchronous request or response may have 1 GB
_BLOCK_BYTES = 2**20
_POLL_SECONDS = 0.5
_CONNECT_SECONDS = 0.25  # AWS: a container must accept socket connection requests within 250 ms
_MAX_RETRY_SECONDS = 30.0


class Response(NamedTuple):
    """A complete response of the container."""

    status: int
    body: bytes
    content_type: str


class Invalid(NamedTuple):
    """A response that SageMaker does not accept."""

    reason: str


class Busy(NamedTuple):
    """The container did not take the request (503, or it does not listen)."""

    retry_after: float


class Lost(NamedTuple):
    """The connection broke after the request was sent: the container may have worked on it."""

    reason: str


class TimedOut(NamedTuple):
    """No complete response within InvocationTimeoutSeconds."""


Note = Callable[[str, str], None]  # takes a failed request's inference ID and the reason
Outcome = Response | Invalid | Busy | Lost | TimedOut


class Dispatcher:
    """Takes requests from `queue` with one thread for each of the instance's `slots` until `stop_taking`.

    `note` is called for each request that fails. Requests in progress on a container that stops return to the queue.
    """

    def __init__(
        self,
        base_url: str,
        slots: int,
        queue: RequestQueue,
        results: ResultWriter,
        role: RoleSession,
        note: Note = lambda inference_id, reason: None,
    ) -> None:
        self._base_url = base_url
        self._queue = queue
        self._results = results
        self._role = role
        self._note = note
        self._stopping = threading.Event()
        self._in_progress: set[AsyncRequest] = set()
        self._threads = [
            threading.Thread(target=self._run, daemon=True, name=f"{base_url}#{slot}") for slot in range(slots)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> int:
        """Requests in progress."""
        return len(self._in_progress)

    def stop_taking(self) -> None:
        """Take no further request; those in progress continue."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for each slot up to `timeout` seconds; return whether all have ended."""
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self._stopping.is_set():
            request = self._queue.take(_POLL_SECONDS)
            if not request or (self._stopping.is_set() and self._queue.put_back(request, delay=0.0)):
                continue
            self._in_progress.add(request)
            try:
                answered = self._deliver(request)
            except Exception as error:  # whatever happened, answer the request and keep the slot
                _log.exception("inference %s failed inside the embedded AWS", request.inference_id)
                self._results.fail(request, f"InternalServerException: {type(error).__name__}")
                answered = True
            if answered:
                milliseconds = (self._queue.clock() - request.received_at) * 1e3
                self._results.metrics.add("TotalProcessingTime", milliseconds)
                self._queue.finish(request)
            self._in_progress.discard(request)

    def _deliver(self, request: AsyncRequest) -> bool:
        """Return whether the request was answered; otherwise it is back in the queue."""
        if request.expires_at <= self._queue.clock():
            self._results.expire(request)
            return True
        body, found_type = request.body or b"", None
        try:
            if request.input_location:
                body, found_type = self._download(request.input_location)
        except (ClientError, BotoCoreError, ValueError) as error:
            self._results.metrics.add("RequestDownloadFailures")
            reason = f"ClientError: Failed to download the input from {request.input_location}: {error}"
            self._fail(request, reason)
            return True
        headers = {
            # AWS does not say what it sends then. The SDK's AsyncPredictor gives only the object's type, and Hugging
            # Face's toolkit, which it is documented to work with, refuses what is not said to be JSON.
            "Content-Type": request.content_type or found_type or "application/octet-stream",
            "Accept": request.accept,
            "X-Amzn-SageMaker-Inference-Id": request.inference_id,
            "X-Amzn-SageMaker-Custom-Attributes": request.custom_attributes,
        }
        given = {name: value for name, value in headers.items() if value is not None}
        started = self._queue.clock()
        outcome = call_container(self._base_url, body, given, request.invocation_timeout)
        if isinstance(outcome, Response | Invalid):
            self._measure(request, outcome, started)
        return self._settle(request, outcome)

    def _download(self, location: str) -> tuple[bytes, str | None]:
        """Return the object's content and content type."""
        bucket, _, key = location.removeprefix("s3://").partition("/")
        started = self._queue.clock()
        answer = self._role.client("s3").get_object(Bucket=bucket, Key=key)
        with answer["Body"] as body:
            if answer["ContentLength"] > _MAX_BODY_BYTES:
                raise ValueError(f"input must have at most {_MAX_BODY_BYTES} bytes, got {answer['ContentLength']}")
            content = body.read()
        self._results.metrics.add("RequestDownloadLatency", (self._queue.clock() - started) * 1e6)  # microseconds
        return content, answer.get("ContentType")

    def _measure(self, request: AsyncRequest, outcome: Response | Invalid, started: float) -> None:
        """Add the metrics that SageMaker publishes of an invocation that the model answered."""
        metrics = self._results.metrics
        metrics.add("TimeInBacklog", (started - request.received_at) * 1e3)  # milliseconds
        metrics.add("ModelLatency", (self._queue.clock() - started) * 1e6)  # microseconds
        hundreds = outcome.status // 100 if isinstance(outcome, Response) else None
        metrics.add("Invocation4XXErrors", float(hundreds == 4))
        metrics.add("Invocation5XXErrors", float(hundreds == 5))

    def _settle(self, request: AsyncRequest, outcome: Outcome) -> bool:
        """Write the result, or put the request back; return whether it was answered."""
        match outcome:
            case Response(status=status, body=body, content_type=content_type) if 200 <= status < 300:
                self._results.complete(request, body, content_type)
            case Response(status=status, body=body, content_type=content_type):
                side = "client" if status < 500 else "server"
                reason = (
                    f"ClientError: Received {side} error ({status}) from model. "
                    "See the SageMaker Endpoint logs in your account for more information."
                )
                self._fail(request, reason, body=body, content_type=content_type)
            case Invalid(reason=reason):
                self._fail(request, reason)
            case TimedOut():
                reason = f"ClientError: The model did not answer within {request.invocation_timeout:g} seconds."
                self._fail(request, reason, status="Expired")
            case Busy(retry_after=seconds):
                answered = self._retry(request, seconds, "ClientError: The endpoint was deleted.")
                self._stopping.wait(seconds)  # the slot waits too: it must not try the whole queue on this container
                return answered
            case Lost(reason=cause):
                request.deliveries += 1
                answered = self._retry(request, 1.0, f"ClientError: Received server error (0) from model: {cause}")
                if not answered:
                    _log.warning("inference %s is delivered again: %s", request.inference_id, cause)
                return answered
        return True

    def _retry(self, request: AsyncRequest, delay: float, reason: str) -> bool:
        """Put the request back, or fail it for `reason` if that is not possible; return whether it failed."""
        if request.deliveries < _MAX_DELIVERIES and self._queue.put_back(request, delay=delay):
            return False
        self._fail(request, reason)
        return True

    def _fail(self, request: AsyncRequest, reason: str, **response: Any) -> None:
        self._note(request.inference_id, reason)
        self._results.fail(request, reason, **response)


def call_container(base_url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Outcome:
    """POST `body` to /invocations; wait at most `timeout` seconds for the whole response. Does not raise."""
    address = urlsplit(base_url)
    deadline = time.monotonic() + timeout
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_CONNECT_SECONDS)
    try:
        connection.connect()
    except OSError:
        connection.close()
        return Busy(1.0)
    try:
        connection.sock.settimeout(timeout)
        connection.request("POST", "/invocations", body=body, headers=dict(headers))
        return _receive(connection, connection.getresponse(), deadline)
    except TimeoutError:
        return TimedOut()
    except (OSError, http.client.HTTPException) as error:
        return Lost(f"{type(error).__name__}: {error}")
    finally:
        connection.close()


def _receive(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float) -> Outcome:
    if response.status == 503:
        after = response.headers.get("Retry-After") or ""
        return Busy(min(max(float(after) if after.isdecimal() else 1.0, 0.1), _MAX_RETRY_SECONDS))
    if response.length is None:
        return Invalid("ClientError: The response from the model must have Content-Length, got none.")
    if response.length > _MAX_BODY_BYTES:
        return Invalid(f"ClientError: The response must have at most {_MAX_BODY_BYTES} bytes, got {response.length}")
    blocks: list[bytes] = []
    expected = response.length
    while expected:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        if connection.sock:  # http.client drops it after the server said "Connection: close"
            connection.sock.settimeout(remaining)
        block = response.read(min(_BLOCK_BYTES, expected))
        if not block:
            raise http.client.IncompleteRead(b"", expected)
        blocks.append(block)
        expected -= len(block)
    content_type = response.headers.get("Content-Type", "application/octet-stream")
    return Response(response.status, b"".join(blocks), content_type)
