"""Requests, their sequences and the queue: bounded, and fair between requests."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from musicgen_serving.engine.errors import QueueFullError, RequestAbandonedError
from musicgen_serving.engine.sampling_params import ClipSpec

POLL_SECONDS = 0.25  # between checks whether the client is still connected


class Request:
    """A request's clips, shared by the thread that waits for them and the engine's thread."""

    def __init__(self, clips: list[ClipSpec], tokens: list[list[int]]) -> None:
        self.clips = clips
        self.tokens = tokens  # of each clip's text
        self.created = time.monotonic()
        self.max_in_flight = 0  # sequences that one step advanced together with this request's
        self._started: float | None = None
        self._codes: dict[int, torch.Tensor] = {}
        self._error: BaseException | None = None
        self._done = threading.Event()

    @property
    def done(self) -> bool:
        """Whether every clip is finished, or the request failed or was abandoned."""
        return self._done.is_set()

    @property
    def queued_seconds(self) -> float:
        """How long the request waited for its first slot."""
        return (self._started or time.monotonic()) - self.created

    def mark_started(self) -> None:
        self._started = self._started or time.monotonic()

    def complete(self, index: int, codes: torch.Tensor) -> None:
        """Add one clip's codes [K, frames]."""
        self._codes[index] = codes
        if len(self._codes) == len(self.clips):
            self._done.set()

    def fail(self, error: BaseException) -> None:
        """End the request with an error; its other clips are dropped."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    def wait(self, abandoned: Callable[[], bool] | None = None) -> list[torch.Tensor]:
        """Return every clip's codes in order; raise the request's error, RequestAbandonedError if `abandoned()`."""
        while not self._done.wait(POLL_SECONDS):
            if abandoned is not None and abandoned():
                self.fail(RequestAbandonedError())
        if self._error is not None:
            raise self._error
        return [self._codes[index] for index in range(len(self.clips))]


@dataclass(eq=False)
class Sequence:
    """One clip of a request; once in a slot, `position` is the next to be fed and `end` the first that is not."""

    request: Request
    index: int
    position: int = 0
    end: int = 0

    @property
    def clip(self) -> ClipSpec:
        return self.request.clips[self.index]

    @property
    def tokens(self) -> list[int]:
        return self.request.tokens[self.index]


class RequestQueue:
    """Sequences waiting for a slot, by request. Not thread-safe: the engine holds a lock."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._requests: deque[deque[Sequence]] = deque()

    def __len__(self) -> int:
        return sum(len(sequences) for sequences in self._requests)

    @property
    def age(self) -> float:
        """Seconds that the oldest request has waited."""
        return max((time.monotonic() - waiting[0].request.created for waiting in self._requests), default=0.0)

    def add(self, request: Request) -> None:
        """Queue a request's clips; raise QueueFullError if they are too many."""
        count = len(self) + len(request.clips)
        if count > self._max_waiting:
            raise QueueFullError(count, self._max_waiting)
        self._requests.append(deque(Sequence(request, index) for index in range(len(request.clips))))

    def take(self, count: int) -> list[Sequence]:
        """Remove up to `count` sequences: one of each request in turn, the longest-waiting request first."""
        taken: list[Sequence] = []
        while self._requests and len(taken) < count:
            waiting = self._requests.popleft()
            if waiting[0].request.done:
                continue
            taken.append(waiting.popleft())
            if waiting:
                self._requests.append(waiting)
        return taken

    def put_back(self, sequence: Sequence) -> None:
        """Return a sequence that could not be admitted to the front."""
        self._requests.appendleft(deque([sequence]))

    def drain(self) -> list[Sequence]:
        drained = [sequence for waiting in self._requests for sequence in waiting]
        self._requests.clear()
        return drained
