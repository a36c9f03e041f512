"""Continuous batching: one thread owns the device, admits waiting sequences between steps and steps all in flight."""

import threading
import time
from collections import deque
from collections.abc import Callable

import torch

from musicgen_serving.engine.completion_queue import DeviceEvent, RecordEvent, event_recorder
from musicgen_serving.engine.errors import DeviceMemoryError, EngineStoppedError
from musicgen_serving.engine.request import Request, Sequence
from musicgen_serving.engine.scheduler import Batch, RequestQueue
from musicgen_serving.engine.watchdog import Heartbeat, end_process
from musicgen_serving.json_log import JsonLog

Encode = Callable[[list[list[int]]], list[torch.Tensor]]
MAX_ADMITTED_TOGETHER = 4  # clips whose texts are encoded between two steps: this is what delays those in flight
RUN_AHEAD_STEPS = 8  # 4 ms of musicgen-small on an H100 and 15 ms of large, in which the host encodes and admits
REPORT_SECONDS = 60.0
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


class Engine:
    """Generate codes for any number of threads; call `on_death` if anything but `stop` ends the engine's own thread.

    `heartbeat` beats when the device has completed a step, not when the host has queued one.

    All its work for the device goes to `stream`, texts included: encoding four takes about as long as a step, their
    clips cannot start before it, and the device has eight steps queued meanwhile.
    """

    def __init__(
        self, batch: Batch, encode: Encode, *, max_waiting: int, log: JsonLog, on_death: Callable[[], None],
        stream: torch.cuda.Stream | None = None,
    ) -> None:  # fmt: skip
        self._batch = batch
        self._encode = encode
        self._queue = RequestQueue(max_waiting)
        self._changed = threading.Condition()
        self._stopping = False
        self._admitting: list[Sequence] = []  # taken from the queue, and not yet in the batch or refused
        self._in_flight_limit = 0  # after running out of memory: admit none until fewer than this are in flight
        self._stats = EngineStats(log)
        self._log = log
        self._on_death = on_death
        self._stream = stream
        self._limit_run_ahead = RunAheadLimiter(event_recorder(batch.device))
        self.heartbeat = Heartbeat("engine")
        self._torch_threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and fail every unfinished request."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether requests are taken: the thread has neither died nor been stopped."""
        return self._thread.is_alive() and not self._stopping

    def state(self) -> dict[str, object]:
        """Return the number of clips in flight and being admitted, and the position of each in its slot."""
        in_flight, admitting = self._batch.unfinished, self._admitting
        positions = [one.progress for one in in_flight]
        return {"in_flight": len(in_flight), "admitting": len(admitting), "positions": positions}

    def reset_statistics(self) -> None:
        """Forget what the statistics have counted; only while nothing is waiting or in flight."""
        self._stats.reset()

    def submit(self, request: Request) -> None:
        """Queue a request; raise QueueFullError or EngineStoppedError."""
        with self._changed:
            if self._stopping:
                raise EngineStoppedError
            self._queue.add(request)
            self._changed.notify()

    def _run(self) -> None:
        try:
            torch.set_num_threads(self._torch_threads)  # BLAS uses the machine's default in every new thread
            with torch.cuda.stream(self._stream):  # None changes nothing
                while self._wait_for_work():
                    self._admit_waiting()
                    self._step()
            self._fail_all(EngineStoppedError())
        except BaseException as error:  # SystemExit as well: without this thread, requests would wait forever
            self._die(error)

    def _die(self, error: BaseException) -> None:
        """Fail every unfinished request at once, then log the error and end the process."""
        try:
            self._fail_all(error if isinstance(error, Exception) else EngineStoppedError())
        finally:
            end_process(lambda: self._log.exception("engine_died", error), self._on_death)

    def _wait_for_work(self) -> bool:
        """Wait until a sequence is waiting or in flight; return False if the engine is to stop."""
        while True:
            if self._stats.seconds_to_report <= 0:
                self._report()
            with self._changed:
                if self._stopping:
                    return False
                if self._batch.sequences:
                    return True
                if len(self._queue):
                    self.heartbeat.beat()  # the first step has all of the limit, its texts' encoding included
                    return True
                self.heartbeat.rest()
                self._changed.wait(self._stats.seconds_to_report)

    def _report(self) -> None:
        """Log statistics; without the lock, as a log that blocks must not block `submit`."""
        with self._changed:
            waiting, age = len(self._queue), round(self._queue.age, 3)
        self._stats.report(
            in_flight=len(self._batch.sequences), free_slots=self._batch.free_slots, free_pages=self._batch.free_pages,
            waiting=waiting, queue_age_seconds=age,
        )  # fmt: skip

    def _step(self) -> None:
        if self._batch.sequences:
            started, count = time.monotonic(), len(self._batch.sequences)
            self._batch.step()
            if self._limit_run_ahead():
                self.heartbeat.beat()
            self._stats.count(count, time.monotonic() - started)
            self._batch.collect_finished()
            for sequence in self._batch.between_windows:
                self._begin_window(sequence)

    def _begin_window(self, sequence: Sequence) -> None:
        """Let a long clip go on; if its next window cannot begin, fail its request."""
        try:
            self._batch.begin_window(sequence, *self._encode_texts([sequence])[0])
        except Exception as error:
            self._batch.remove(sequence)
            sequence.request.fail(DeviceMemoryError() if isinstance(error, OUT_OF_MEMORY) else error)
            self._log.write("window_failed", error=repr(error), window=sequence.window_index)

    def _admit_waiting(self) -> None:
        in_flight = len(self._batch.sequences)
        if self._in_flight_limit and in_flight >= self._in_flight_limit:
            return
        self._in_flight_limit = 0
        with self._changed:
            count = min(self._batch.free_slots, MAX_ADMITTED_TOGETHER)
            sequences = self._queue.take(count, self._batch.page_budget())
            if not sequences and not in_flight:
                sequences = self._queue.take(1)  # no page is in use: what does not fit now never will, and is refused
            self._admitting = sequences
        if sequences:
            self._admit(sequences)
            self._admitting = []

    def _admit(self, sequences: list[Sequence]) -> None:
        """Encode the texts together and admit each sequence; if encoding fails, retry one by one."""
        try:
            states = self._encode_texts(sequences)
        except Exception as error:
            if len(sequences) == 1:
                return self._refuse(sequences[0], error)
            for sequence in sequences:
                self._admit([sequence])
            return None
        for sequence, of_texts in zip(sequences, states, strict=True):
            if sequence.request.done:  # failed or abandoned meanwhile
                continue
            try:
                self._batch.admit(sequence, *of_texts)
            except Exception as error:
                self._refuse(sequence, error)
        return None

    def _encode_texts(self, sequences: list[Sequence]) -> list[tuple[torch.Tensor | None, ...]]:
        """Return the states of each sequence's text, None without one, and of its negative prompt if it has one."""
        texts = [text for one in sequences for text in (one.tokens, one.negative_tokens) if text]
        states = iter(self._encode(texts) if texts else ())
        return [
            (next(states) if one.tokens else None, *([next(states)] if one.negative_tokens else ()))
            for one in sequences
        ]

    def _refuse(self, sequence: Sequence, error: Exception) -> None:
        """Fail the request; if memory ran out with others in flight, requeue it until one of them has left."""
        in_flight = len(self._batch.sequences)
        if not isinstance(error, OUT_OF_MEMORY):
            sequence.request.fail(error)
        elif in_flight:
            self._in_flight_limit = in_flight
            with self._changed:
                self._queue.put_back(sequence)
        else:
            sequence.request.fail(DeviceMemoryError())
        self._log.write("admission_failed", error=repr(error), in_flight=in_flight)

    def _fail_all(self, error: BaseException) -> None:
        with self._changed:
            self._stopping = True
            sequences = [*self._queue.drain(), *self._admitting, *self._batch.unfinished]
        for sequence in sequences:
            sequence.request.fail(error)


class RunAheadLimiter:
    """Keep the host at most `steps` steps ahead: the device never starves, and admissions still take effect soon."""

    def __init__(self, record_event: RecordEvent, steps: int = RUN_AHEAD_STEPS) -> None:
        self._record_event = record_event
        self._steps = steps
        self._queued: deque[DeviceEvent] = deque()

    def __call__(self) -> bool:
        """Record a step, wait for the one `steps` before it; return whether the device has since completed any."""
        if (event := self._record_event()) is None:
            return True  # a step is complete when its call returns
        self._queued.append(event)
        queued = len(self._queued)
        if queued > self._steps:
            self._queued.popleft().synchronize()
        while self._queued and self._queued[0].query():
            self._queued.popleft()
        return len(self._queued) < queued


class EngineStats:
    """Count steps and tokens, and log them once a minute."""

    def __init__(self, log: JsonLog) -> None:
        self._log = log
        self.reset()

    def reset(self) -> None:
        self._since = time.monotonic()
        self._steps = self._tokens = 0
        self._busy = 0.0

    @property
    def seconds_to_report(self) -> float:
        return self._since + REPORT_SECONDS - time.monotonic()

    def count(self, sequences: int, seconds: float) -> None:
        """Count one step, which makes a token of every codebook for each sequence."""
        self._steps += 1
        self._tokens += sequences
        self._busy += seconds

    def report(self, **state: float) -> None:
        """Write the log line and reset; tokens per second are over the time spent in steps."""
        rate = round(self._tokens / self._busy, 1) if self._busy else 0.0
        memory = torch.cuda.memory_allocated() if torch.cuda.is_available() else None
        self._log.write(
            "engine", **state, steps=self._steps, tokens_per_second=rate, busy_seconds=round(self._busy, 3),
            device_memory_bytes=memory,
        )  # fmt: skip
        self.reset()
