"""The queue of one asynchronous endpoint. It outlives instances and updates; every request leaves it exactly once."""

import threading
import time
from collections import deque
from collections.abc import Callable

from local_aws.sagemaker.request import AsyncRequest

_MAX_WAITING = 10_000  # 128 kB each at most: 1.3 GB


class BacklogFull(Exception):
    """More requests wait than the queue takes."""


class BacklogClosed(Exception):
    """The endpoint is being deleted."""


class Backlog:
    """First in, first out; a request that has to wait for its retry lets the others pass. Thread-safe.

    A request is waiting (`put`, `put_back`) or in progress (`take` until `finish` or `put_back`). `clock` returns
    seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._waiting: deque[AsyncRequest] = deque()
        self._in_progress: set[AsyncRequest] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._abandoned = False

    def put(self, request: AsyncRequest) -> None:
        """Accepts a new request; raises BacklogFull or BacklogClosed."""
        with self._changed:
            if self._closed:
                raise BacklogClosed
            if len(self._waiting) >= _MAX_WAITING:
                raise BacklogFull
            self._waiting.append(request)
            self._changed.notify()

    def take(self, timeout: float) -> AsyncRequest | None:
        """The oldest request that may be delivered now, or None after `timeout` seconds (of real time)."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (request := self._first_due()):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return None
                self._changed.wait(min(remaining, 0.1))
            self._waiting.remove(request)
            self._in_progress.add(request)
            return request

    def put_back(self, request: AsyncRequest, *, delay: float) -> bool:
        """Returns a request taken earlier to the head, not to be taken again for `delay` seconds.

        False when the endpoint is being deleted: the caller then still has the request, and must answer it.
        """
        with self._changed:
            if self._abandoned:
                return True
            if self._closed:
                return False
            self._in_progress.discard(request)
            request.not_before = self.clock() + delay
            self._waiting.appendleft(request)
            self._changed.notify()
            return True

    def finish(self, request: AsyncRequest) -> None:
        """Ends the progress of a request that was taken and has been answered."""
        with self._changed:
            self._in_progress.discard(request)

    def take_expired(self) -> list[AsyncRequest]:
        """All waiting requests whose time to live has passed; the caller must answer and `finish` them."""
        with self._changed:
            now = self.clock()
            expired = [request for request in self._waiting if request.expires_at <= now]
            self._move_to_progress(expired)
            return expired

    def close(self) -> list[AsyncRequest]:
        """Refuses requests from now on; returns those that wait, which the caller must answer and `finish`."""
        with self._changed:
            self._closed = True
            left = list(self._waiting)
            self._move_to_progress(left)
            self._changed.notify_all()
            return left

    def abandon(self) -> None:
        """Lets go of everything: the server itself ends, and with it all that could be told."""
        with self._changed:
            self._abandoned = True
            self._waiting.clear()

    @property
    def size(self) -> int:
        """Requests waiting or in progress: SageMaker's ApproximateBacklogSize."""
        with self._changed:
            return len(self._waiting) + len(self._in_progress)

    @property
    def waiting(self) -> int:
        """Requests that no instance works on."""
        with self._changed:
            return len(self._waiting)

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest waiting request came in, 0 if none: ApproximateAgeOfOldestRequest."""
        with self._changed:
            return max((self.clock() - request.received_at for request in self._waiting), default=0.0)

    def _first_due(self) -> AsyncRequest | None:
        now = self.clock()
        return next((request for request in self._waiting if request.not_before <= now), None)

    def _move_to_progress(self, requests: list[AsyncRequest]) -> None:
        for request in requests:
            self._waiting.remove(request)
            self._in_progress.add(request)
