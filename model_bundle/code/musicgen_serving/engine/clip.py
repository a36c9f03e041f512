"""A clip to be made, and the ticket that a request waits on while its clips are made."""

import threading
import time
from collections.abc import Callable

import torch

from musicgen_serving.engine.errors import RequestAbandonedError
from musicgen_serving.engine.sampling_params import ClipSpec

POLL_SECONDS = 0.25  # between looks at whether the client is still there


class Request:
    """One request's clips in the engine: `wait` returns when all are made, or raises what went wrong."""

    def __init__(self, clips: list[ClipSpec], tokens: list[list[int]]) -> None:
        self.clips = clips
        self.tokens = tokens
        self.created = time.monotonic()
        self.first_started: float | None = None
        self.max_in_flight = 0  # clips that one step advanced together with this request's
        self._codes: dict[int, torch.Tensor] = {}
        self._error: BaseException | None = None
        self._done = threading.Event()

    @property
    def over(self) -> bool:
        """Whether nobody waits for more: all made, failed or abandoned."""
        return self._done.is_set()

    @property
    def queued_seconds(self) -> float:
        """How long the request waited for its first slot."""
        return (self.first_started or time.monotonic()) - self.created

    def started(self) -> None:
        """Note that a clip entered a slot."""
        self.first_started = self.first_started or time.monotonic()

    def deliver(self, index: int, codes: torch.Tensor) -> None:
        """Hand in one clip's codes [K, frames]."""
        self._codes[index] = codes
        if len(self._codes) == len(self.clips):
            self._done.set()

    def fail(self, error: BaseException) -> None:
        """End the request with an error; its other clips are dropped."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    def wait(self, abandoned: Callable[[], bool] | None = None) -> list[torch.Tensor]:
        """The codes of every clip, in order; RequestAbandonedError as soon as `abandoned` says so."""
        while not self._done.wait(POLL_SECONDS):
            if abandoned is not None and abandoned():
                self.fail(RequestAbandonedError())
        if self._error is not None:
            raise self._error
        return [self._codes[index] for index in range(len(self.clips))]
