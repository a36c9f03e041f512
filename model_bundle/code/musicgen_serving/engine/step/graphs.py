"""Decode steps as CUDA graphs: one recording for each bucket of slots and cache lengths, replayed with one launch.

A recording repeats the same kernels on the same addresses, so everything that it reads and writes stays in place for
as long as the slots do. Which slots are active, their positions and sampling parameters are read on the device; the
host only chooses the bucket.
"""

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from musicgen_serving.engine.model.memory import ROWS, TEXT_PAGE
from musicgen_serving.engine.step.slots import Slots, batch_view
from musicgen_serving.engine.step.torch_step import StepFn
from musicgen_serving.json_log import JsonLog

BUDGET_SECONDS = 10.0  # at start-up; other buckets are recorded when first used
MIN_LENGTH = 256  # positions: five seconds, of which a step reads little compared to the weights

Work = Callable[[], None]


@dataclass(frozen=True, order=True)
class Bucket:
    """A step over the first `slots` slots whose attention sees positions below `length`.

    Of each slot, `text_rows` rows attend to a text: both if a clip has a negative prompt.
    """

    slots: int
    length: int
    text_rows: int = 1


def make_buckets(slots: int, positions: int) -> tuple[Bucket, ...]:
    """Return every pair of a slot count and a length, ascending: 6 times 4 for 32 slots of 30 seconds.

    Both double from one bucket to the next, so at most half of a step is padding, which kernels skip.
    """
    return tuple(Bucket(n, length) for n in doublings(1, slots) for length in doublings(MIN_LENGTH, positions))


def doublings(first: int, last: int) -> tuple[int, ...]:
    """Return `first`, its doubles below `last`, and `last`."""
    sizes: list[int] = []
    while first < last:
        sizes.append(first)
        first *= 2
    return (*sizes, last)


class GraphRecorder(Protocol):
    """Record work without doing it; `record` returns what replays it.

    Rehearsing does it once, so that everything that happens only once (compiling, loading, allocating) is done.
    """

    def rehearse(self, work: Work) -> None: ...
    def record(self, work: Work) -> Work: ...


@dataclass(frozen=True)
class RecordedGraphs:
    """How many of the buckets were recorded at start-up, and how long that took."""

    count: int
    total: int
    seconds: float


class StepGraphs:
    """Recorded steps over the first slots, with sampling bounds that hold for any request.

    Attention may read as many text tokens as a slot holds: kernels read each text's length on the device, so this
    costs nothing. Buckets for negative prompts, which few requests have, are recorded when first used. A bucket that
    cannot be recorded is logged, and stepped kernel by kernel.
    """

    def __init__(self, slots: Slots, step_fn: StepFn, recorder: GraphRecorder, vocabulary: int, log: JsonLog) -> None:
        self._step_fn = step_fn
        self._recorder = recorder
        self._vocabulary = vocabulary
        self._log = log
        text_length = slots.text_table.shape[2] * TEXT_PAGE
        self.buckets = make_buckets(slots.position.shape[0], slots.tokens.shape[2] - 1)
        self._views = {
            Bucket(one.slots, one.length, rows): batch_view(slots, 0, one.slots, one.length, text_length, rows)
            for one in self.buckets
            for rows in (1, ROWS)
        }
        self._replays: dict[Bucket, Work] = {}
        self._count = 0

    @torch.inference_mode()
    def record_all(self, budget: float = BUDGET_SECONDS, now: Callable[[], float] = time.monotonic) -> RecordedGraphs:
        """Record the buckets, largest first, until `budget` seconds have passed. No slot may be active."""
        started = now()
        with _gc_paused():
            for bucket in sorted(self.buckets, reverse=True):
                if now() - started >= budget:
                    break
                self._record(bucket, rehearse=True)
        return RecordedGraphs(self._count, len(self.buckets), now() - started)

    @torch.inference_mode()
    def step(self, count: int, length: int, text_rows: int = 1) -> None:
        """Advance the active ones of the first `count` slots, none of which is at position `length` or beyond.

        The first use of a bucket that was not recorded steps kernel by kernel, which rehearses its recording, and
        checks that against the step.
        """
        bucket = self.find_bucket(count, length, text_rows)
        if bucket in self._replays:
            return self._replays[bucket]()
        return self._step_and_record(bucket)

    @property
    def recorded(self) -> tuple[Bucket, ...]:
        """Return the buckets that have been recorded, or tried to."""
        return tuple(self._replays)

    @torch.inference_mode()
    def replay(self, bucket: Bucket) -> None:
        """Replay the recording of a bucket."""
        self._replays[bucket]()

    @torch.inference_mode()
    def step_eagerly(self, bucket: Bucket) -> None:
        """Do a bucket's step without its recording."""
        self._work(bucket)()

    def find_bucket(self, count: int, length: int, text_rows: int = 1) -> Bucket:
        """Return the smallest bucket that holds `count` slots at positions below `length`; raise ValueError if none."""
        fitting = [bucket for bucket in self.buckets if bucket.slots >= count and bucket.length >= length]
        if not fitting:
            raise ValueError(f"a step must fit a bucket, got {count} slots at positions below {length}")
        smallest = min(fitting)
        return Bucket(smallest.slots, smallest.length, text_rows)

    def _step_and_record(self, bucket: Bucket) -> None:
        """Step kernel by kernel and record it; use the recording if, from the same state, its replay does the same.

        Waits for the device. A replay writes the same keys and values to the same places.
        """
        work, state = self._work(bucket), self._views[bucket].state
        parts = (state.tokens, state.position, state.nonfinite)  # all else that a step writes
        before = [part.clone() for part in parts]
        work()
        with _gc_paused():
            if not self._record(bucket):
                return
        expected, error = [part.clone() for part in parts], "another result than that of the step"
        _restore(parts, before)
        try:
            self._replays[bucket]()
            if all(torch.equal(*pair) for pair in zip(parts, expected, strict=True)):
                return
        except Exception as fault:  # of the device
            error = repr(fault)
        self._replays[bucket] = work
        self._log.write(
            "self_check_failed", part="graphs", instead="a launch for each kernel", bucket=repr(bucket), error=error
        )
        _restore(parts, before)
        work()

    def _record(self, bucket: Bucket, *, rehearse: bool = False) -> bool:
        """Record a bucket; return False, with a log line, if it cannot be."""
        work = self._work(bucket)
        try:
            if rehearse:
                self._recorder.rehearse(work)
            self._replays[bucket] = self._recorder.record(work)
            self._count += 1
            return True
        except Exception as error:  # while serving, the step has been done: it must not fail or be repeated
            self._replays[bucket] = work
            self._log.write(
                "graph_failed", slots=bucket.slots, length=bucket.length, text_rows=bucket.text_rows, error=repr(error)
            )
            return False

    def _work(self, bucket: Bucket) -> Work:
        return lambda: self._step_fn(self._views[bucket], max_top_k=self._vocabulary, use_top_p=True)


def _restore(parts: tuple[torch.Tensor, ...], values: list[torch.Tensor]) -> None:
    for part, value in zip(parts, values, strict=True):
        part.copy_(value)


@contextmanager
def _gc_paused() -> Generator[None]:
    """Pause garbage collection, which costs time and might free CUDA objects within a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class CudaRecorder:
    """Record with torch's CUDA graphs, in one memory pool because no two of them run at once.

    Uses only what torch 2.6 has; the context manager torch.cuda.graph would collect garbage for every graph. That
    version launches two small kernels before each replay, for a generator that no step uses: about 5 µs.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device, priority=-1)  # which a graph's kernels keep
        self._pool = torch.cuda.graph_pool_handle()
        self._failure: Exception | None = None

    def rehearse(self, work: Work) -> None:
        """Do the work on the recorder's stream, because libraries keep state for each stream."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            work()
        self._stream.synchronize()

    def record(self, work: Work) -> Work:
        """Capture the work; other threads may use the device meanwhile, unless they wait for this one.

        Raises RuntimeError after a failed capture, which leaves torch's allocator in capture mode.
        """
        if self._failure is not None:
            raise RuntimeError("nothing is recorded after a capture that failed") from self._failure
        graph = torch.cuda.CUDAGraph()
        try:
            with self._ordered():
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    work()
                finally:
                    graph.capture_end()
        except Exception as error:
            self._failure = error
            raise
        return graph.replay

    @contextmanager
    def _ordered(self) -> Generator[None]:
        """Make the recorder's stream current, in order with the caller's."""
        caller = torch.cuda.current_stream()
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            yield
        caller.wait_stream(self._stream)
