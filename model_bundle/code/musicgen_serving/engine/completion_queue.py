"""Codes that are queued on the device and not there yet: each goes to its request once the device has finished it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from musicgen_serving.engine.errors import NonFiniteError
from musicgen_serving.engine.request import ClipPart, Sequence


class DeviceEvent(Protocol):
    """A point in the device's work, like torch.cuda.Event: ask whether it is reached, or wait for it."""

    def query(self) -> bool: ...
    def synchronize(self) -> None: ...


RecordEvent = Callable[[], DeviceEvent | None]
"""Record an event after all work queued by this thread; None if work is finished when its call returns."""


def event_recorder(device: torch.device) -> RecordEvent:
    """Return what records events on a device; a thread that waits for one sleeps."""

    def record() -> DeviceEvent:
        event = torch.cuda.Event(blocking=True)
        event.record()
        return event

    return record if device.type == "cuda" else lambda: None


@dataclass(frozen=True)
class Completion:
    """A part of a sequence's codes whose steps are all queued; `nonfinite` can be read on the host after `event`."""

    sequence: Sequence
    part: ClipPart
    nonfinite: torch.Tensor
    event: DeviceEvent | None


class CompletionQueue:
    """Parts of clips that the device has yet to finish, in order."""

    def __init__(self, record_event: RecordEvent) -> None:
        self._record_event = record_event
        self._pending: deque[Completion] = deque()

    @property
    def sequences(self) -> list[Sequence]:
        """Those that have left their slots and whose last part is pending."""
        return [completion.sequence for completion in self._pending if completion.part.last]

    def add(self, sequence: Sequence, codes: torch.Tensor, nonfinite: torch.Tensor, *, last: bool) -> None:
        """Queue a sequence's next codes [K, n] and its slot's flag, copied before the slot is used again."""
        if nonfinite.device.type == "cpu":
            on_host = nonfinite.clone()
        else:
            on_host = torch.empty((), dtype=torch.bool, pin_memory=True)
            on_host.copy_(nonfinite, non_blocking=True)
        part = ClipPart(sequence.index, codes, last)
        self._pending.append(Completion(sequence, part, on_host, self._record_event()))

    def complete(self, *, wait: bool) -> None:
        """Give their requests the parts that the device has finished; with `wait`, all of them."""
        while self._pending:
            event = self._pending[0].event
            if not (wait or event is None or event.query()):
                return
            done = self._pending.popleft()
            if event is not None:
                event.synchronize()
            if bool(done.nonfinite):
                done.sequence.request.fail(NonFiniteError("logits"))
            else:
                done.sequence.request.add_part(done.part)
