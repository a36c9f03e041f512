"""A step as one launch: what advances the slots, recorded for every bucket of slots and cache lengths.

A recorded step repeats the same kernels on the same addresses, so all that it reads and writes stays where it is for
as long as the slots do. How many slots have a clip, how far each is and how it samples is on the device, and is read
there; which bucket to repeat is all that the host decides.
"""

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from musicgen_serving.engine.buckets import Bucket, buckets, smallest
from musicgen_serving.engine.slots import Slots
from musicgen_serving.engine.torch_step import Advance
from musicgen_serving.engine.window import window
from musicgen_serving.json_log import JsonLog

BUDGET_SECONDS = 10.0  # at start-up; what is not recorded by then is recorded when it is first needed


class Recorder(Protocol):
    """What records work on the device so that it can be repeated."""

    def rehearse(self, work: Callable[[], None]) -> None:
        """Do the work once as it will be recorded: what is compiled, loaded or allocated once, is so afterwards."""
        ...

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the work, without doing it, and return what does it as often as it is called."""
        ...


@dataclass(frozen=True)
class Recorded:
    """How many of the buckets were recorded at start-up, and how long that took."""

    graphs: int
    of: int
    seconds: float


class StepGraphs:
    """The recorded steps over the first slots; all of them sample with bounds that hold for any request.

    Attention may read as many text tokens as a slot has room for: where it reads each text's length on the device,
    that costs nothing, and a dimension of buckets less. A bucket that cannot be recorded is stepped kernel by kernel
    and named in the log.
    """

    def __init__(self, slots: Slots, advance: Advance, recorder: Recorder, vocabulary: int, log: JsonLog) -> None:
        self._advance = advance
        self._recorder = recorder
        self._vocabulary = vocabulary
        self._log = log
        self.text = slots.cross_mask.shape[-1]
        self.buckets = buckets(slots.position.shape[0], slots.tokens.shape[2] - 1)
        self._windows = {one: window(slots, 0, one.slots, one.length, self.text) for one in self.buckets}
        self._steps: dict[Bucket, Callable[[], None]] = {}
        self._graphs = 0

    @torch.inference_mode()
    def record_all(self, budget: float = BUDGET_SECONDS, now: Callable[[], float] = time.monotonic) -> Recorded:
        """Record the buckets, the largest first, until `budget` seconds have passed. No slot may be active."""
        started = now()
        with _collector_paused():
            for bucket in sorted(self.buckets, reverse=True):
                if now() - started >= budget:
                    break
                self._record(bucket, rehearse=True)
        return Recorded(self._graphs, len(self.buckets), now() - started)

    @torch.inference_mode()
    def step(self, count: int, length: int) -> None:
        """Advance the active ones of the first `count` slots, none of which is at a position from `length` on.

        A bucket's first use, where it was not recorded before, is a step like any other, and its rehearsal.
        """
        bucket = self.find(count, length)
        if bucket in self._steps:
            return self._steps[bucket]()
        self._work(bucket)()
        with _collector_paused():
            self._record(bucket)
        return None

    def find(self, count: int, length: int) -> Bucket:
        """The smallest bucket that holds `count` slots at positions below `length`."""
        return smallest(self.buckets, count, length)

    def _record(self, bucket: Bucket, *, rehearse: bool = False) -> None:
        work = self._work(bucket)
        try:
            if rehearse:
                self._recorder.rehearse(work)
            self._steps[bucket] = self._recorder.record(work)
            self._graphs += 1
        except Exception as error:  # at work the step has been done: it must not fail, or be done again
            self._steps[bucket] = work
            self._log.write("graph_failed", slots=bucket.slots, length=bucket.length, error=repr(error))

    def _work(self, bucket: Bucket) -> Callable[[], None]:
        return lambda: self._advance(self._windows[bucket], most=self._vocabulary, use_top_p=True)


@contextmanager
def _collector_paused() -> Generator[None]:
    """No garbage collection: it would take time for nothing, and might free what belongs to CUDA within a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
