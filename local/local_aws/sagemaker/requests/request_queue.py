"""The queue of one asynchronous endpoint, which survives instances and updates."""

import threading
import time
from collections import deque
from collections.abc import Callable

from local_aws.sagemaker.requests.invocation_request import AsyncRequest

_MAX_WAITING = 10_000  # 128 kB each at most: 1.3 GB


class QueueFull(Exception):
    """The queue already holds as many waiting requests as it may."""


class QueueClosed(Exception):
    """The endpoint is being deleted."""


class RequestQueue:
    """First in, first out, except that a request that waits for its retry lets the others pass. Thread-safe.

    A request is waiting (`put`, `put_back`) or in progress (from `take` to `finish` or `put_back`). `clock` returns
    seconds and is monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._waiting: deque[AsyncRequest] = deque()
        self._in_progress: set[AsyncRequest] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._discarding = False

    def put(self, request: AsyncRequest) -> None:
        """Add a new request; raises QueueFull or QueueClosed."""
        with self._changed:
            if self._closed:
                raise QueueClosed
            if len(self._waiting) >= _MAX_WAITING:
                raise QueueFull
            self._waiting.append(request)
            self._changed.notify()

    def take(self, timeout: float) -> AsyncRequest | None:
        """Return the oldest request that may be delivered now, or None after `timeout` seconds (of real time)."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                now = self.clock()
                request = next((request for request in self._waiting if request.not_before <= now), None)
                if request:
                    self._move_to_progress([request])
                    return request
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return None
                self._changed.wait(min(remaining, 0.1))

    def put_back(self, request: AsyncRequest, *, delay: float) -> bool:
        """Return a request in progress to the head of the queue, to be taken again in `delay` seconds at the earliest.

        Returns False if the endpoint is being deleted: the caller then keeps the request and must answer it.
        """
        with self._changed:
            if self._discarding:
                return True
            if self._closed:
                return False
            self._in_progress.discard(request)
            request.not_before = self.clock() + delay
            self._waiting.appendleft(request)
            self._changed.notify()
            return True

    def finish(self, request: AsyncRequest) -> None:
        """Remove a request that was taken and has been answered."""
        with self._changed:
            self._in_progress.discard(request)

    def take_expired(self) -> list[AsyncRequest]:
        """Take all waiting requests whose time to live has passed; the caller must answer and `finish` them."""
        with self._changed:
            now = self.clock()
            expired = [request for request in self._waiting if request.expires_at <= now]
            self._move_to_progress(expired)
            return expired

    def close(self) -> list[AsyncRequest]:
        """Refuse new requests and take those that wait; the caller must answer and `finish` them."""
        with self._changed:
            self._closed = True
            waiting = list(self._waiting)
            self._move_to_progress(waiting)
            self._changed.notify_all()
            return waiting

    def discard(self) -> None:
        """Drop the waiting requests and those put back later: the server is shutting down."""
        with self._changed:
            self._discarding = True
            self._waiting.clear()

    @property
    def size(self) -> int:
        """Requests waiting or in progress: SageMaker's ApproximateBacklogSize."""
        with self._changed:
            return len(self._waiting) + len(self._in_progress)

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest waiting request arrived, 0 if none waits: ApproximateAgeOfOldestRequest."""
        with self._changed:
            return max((self.clock() - request.received_at for request in self._waiting), default=0.0)

    def _move_to_progress(self, requests: list[AsyncRequest]) -> None:
        for request in requests:
            self._waiting.remove(request)
            self._in_progress.add(request)
