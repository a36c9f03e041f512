"""Delivers an endpoint's requests to one instance, as many at once as the endpoint configuration allows."""

import logging
import threading

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.sagemaker.answers import Answers, split_s3
from local_aws.sagemaker.backlog import Backlog
from local_aws.sagemaker.container_call import Answered, Busy, Lost, Outcome, Refused, TimedOut, call_container
from local_aws.sagemaker.request import AsyncRequest
from local_aws.sagemaker.role import RoleSession

_log = logging.getLogger(__name__)
_MAX_DELIVERIES = 3  # a request that kills its container this often is the reason
_MAX_INPUT_BYTES = 2**30  # AWS: an asynchronous request may have 1 GB
_POLL_SECONDS = 0.5


class Dispatcher:
    """One thread for each request that the instance may work on at once. `stop()` ends the taking, then waits for what
    is in progress; a container that is stopped first breaks those off, and they return to the backlog."""

    def __init__(self, base_url: str, slots: int, backlog: Backlog, answers: Answers, role: RoleSession) -> None:
        self._base_url = base_url
        self._backlog = backlog
        self._answers = answers
        self._role = role
        self._stopping = threading.Event()
        self._working: set[AsyncRequest] = set()
        self._threads = [
            threading.Thread(target=self._run, daemon=True, name=f"{base_url}#{slot}") for slot in range(slots)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> int:
        """Requests in progress."""
        return len(self._working)

    def stop_taking(self) -> None:
        """Takes no further request; what is in progress goes on."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for what is in progress; whether all has ended."""
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self._stopping.is_set():
            request = self._backlog.take(_POLL_SECONDS)
            if request and not (self._stopping.is_set() and self._backlog.put_back(request, delay=0.0)):
                self._working.add(request)
                self._work_on(request)
                self._working.discard(request)

    def _work_on(self, request: AsyncRequest) -> None:
        try:
            answered = self._deliver(request)
        except Exception as error:  # whatever it is, the request is answered and the slot lives
            _log.exception("inference %s failed inside the embedded AWS", request.inference_id)
            self._answers.fail(request, Refused(f"InternalServerException: {type(error).__name__}"))
            answered = True
        if answered:
            self._answers.tally.add("TotalProcessingTime", (self._backlog.clock() - request.received_at) * 1e3)
            self._backlog.finish(request)

    def _deliver(self, request: AsyncRequest) -> bool:
        """Whether the request is answered for good; else it is back in the backlog."""
        if request.expires_at <= self._backlog.clock():
            expire(request, self._answers)
            return True
        try:
            body = request.body if request.body is not None else self._download(str(request.input_location))
        except (ClientError, BotoCoreError, ValueError) as error:
            self._answers.tally.add("RequestDownloadFailures")
            reason = f"ClientError: Failed to download the input from {request.input_location}: {error}"
            self._answers.fail(request, Refused(reason))
            return True
        started = self._backlog.clock()
        outcome = call_container(self._base_url, body, _headers(request), request.invocation_timeout)
        self._measure(request, outcome, started)
        return self._settle(request, outcome)

    def _measure(self, request: AsyncRequest, outcome: Outcome, started: float) -> None:
        """What SageMaker publishes of an invocation that the model answered."""
        tally = self._answers.tally
        if not isinstance(outcome, Answered | Refused):
            return
        tally.add("TimeInBacklog", (started - request.received_at) * 1e3)  # milliseconds
        tally.add("ModelLatency", (self._backlog.clock() - started) * 1e6)  # microseconds
        status = outcome.status if isinstance(outcome, Refused) else None
        for first, name in ((4, "Invocation4XXErrors"), (5, "Invocation5XXErrors")):
            tally.add(name, float(status is not None and status // 100 == first))

    def _settle(self, request: AsyncRequest, outcome: Outcome) -> bool:
        match outcome:
            case Answered():
                self._answers.complete(request, outcome)
            case Refused():
                self._answers.fail(request, outcome)
            case TimedOut():
                reason = f"ClientError: The model did not answer within {request.invocation_timeout:g} seconds."
                self._answers.fail(request, Refused(reason), status="Expired")
            case Busy(retry_after=seconds):
                answered = self._again(request, seconds, "ClientError: The endpoint was deleted.")
                self._stopping.wait(seconds)  # the slot waits too: it must not try the whole backlog on it
                return answered
            case Lost(reason=cause):
                request.deliveries += 1
                return self._again(request, 1.0, f"ClientError: Received server error (0) from model: {cause}")
        return True

    def _again(self, request: AsyncRequest, delay: float, reason: str) -> bool:
        if request.deliveries < _MAX_DELIVERIES and self._backlog.put_back(request, delay=delay):
            return False
        self._answers.fail(request, Refused(reason))
        return True

    def _download(self, location: str) -> bytes:
        bucket, key = split_s3(location)
        answer = self._role.client("s3").get_object(Bucket=bucket, Key=key)
        with answer["Body"] as body:
            if answer["ContentLength"] > _MAX_INPUT_BYTES:
                raise ValueError(f"input must have {_MAX_INPUT_BYTES} bytes at most, got {answer['ContentLength']}")
            return body.read()


def expire(request: AsyncRequest, answers: Answers) -> None:
    """Answers a request that waited longer than its time to live."""
    reason = "ClientError: The request waited in the queue longer than RequestTTLSeconds."
    answers.fail(request, Refused(reason), status="Expired")


def _headers(request: AsyncRequest) -> dict[str, str]:
    optional = {"Accept": request.accept, "X-Amzn-SageMaker-Custom-Attributes": request.custom_attributes}
    return {
        "Content-Type": request.content_type,
        "X-Amzn-SageMaker-Inference-Id": request.inference_id,
        **{name: value for name, value in optional.items() if value is not None},
    }
