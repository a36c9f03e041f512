"""Keeping the host a few steps ahead of the device: it never starves, and who joins or leaves is noticed soon."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

import torch

AHEAD = 8  # steps: 4 ms of musicgen-small on an H100 and 15 ms of large, in which the host encodes and admits


class Event(Protocol):
    """A moment in the device's work."""

    def query(self) -> bool:
        """Whether the device has come to it."""
        ...

    def synchronize(self) -> None:
        """Wait until it has."""
        ...


MarkNow = Callable[[], Event | None]
"""Returns the moment after all that the device was given by this thread; None where work is done when its call ends."""


def marker(device: torch.device) -> MarkNow:
    """Moments of a device; the thread that waits for one sleeps."""

    def mark() -> Event:
        event = torch.cuda.Event(blocking=True)
        event.record()
        return event

    return mark if device.type == "cuda" else lambda: None


class Pace:
    """Called after each step, waits until no more than `ahead` steps are still to be done."""

    def __init__(self, mark: MarkNow, ahead: int = AHEAD) -> None:
        self._mark = mark
        self._ahead = ahead
        self._queued: deque[Event] = deque()

    def __call__(self) -> None:
        """Note a step, and wait for the one `ahead` before it."""
        if (event := self._mark()) is not None:
            self._queued.append(event)
        if len(self._queued) > self._ahead:
            self._queued.popleft().synchronize()
