"""Continuous batching: a thread that owns the device, admits waiting clips between steps and steps all in flight."""

import threading
import time
from collections.abc import Callable

import torch

from musicgen_serving.engine.batch import Batch
from musicgen_serving.engine.clip import Request
from musicgen_serving.engine.errors import DeviceMemoryError, EngineStoppedError
from musicgen_serving.engine.meter import Meter
from musicgen_serving.engine.pace import Pace, marker
from musicgen_serving.engine.waiting import Job, Waiting
from musicgen_serving.json_log import JsonLog

Encode = Callable[[list[list[int]]], list[torch.Tensor]]
ADMITTED_AT_ONCE = 4  # texts encoded together between two steps: what the clips in flight are delayed by
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


class Engine:
    """Makes clips for any number of threads. `on_death` is called if its own thread ends by an error.

    All that its thread gives the device goes to `stream`: texts too, for encoding four takes the time of a step or two
    and their clips cannot begin before it, and the host has given the device eight steps to do meanwhile.
    """

    def __init__(
        self, batch: Batch, encode: Encode, *, max_waiting: int, log: JsonLog, on_death: Callable[[], None],
        stream: torch.cuda.Stream | None = None,
    ) -> None:  # fmt: skip
        self._batch = batch
        self._encode = encode
        self._waiting = Waiting(max_waiting)
        self._changed = threading.Condition()
        self._stopping = False
        self._hold = 0  # after running out of memory with this many in flight: admit none until there are fewer
        self._meter = Meter(log)
        self._log = log
        self._on_death = on_death
        self._stream = stream
        self._pace = Pace(marker(batch.device))
        self._torch_threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and every request that it still has."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def submit(self, ticket: Request) -> None:
        """Queue a request; raise QueueFullError or EngineStoppedError."""
        with self._changed:
            if self._stopping:
                raise EngineStoppedError
            self._waiting.add(ticket)
            self._changed.notify()

    def _run(self) -> None:
        torch.set_num_threads(self._torch_threads)  # BLAS takes the machine's default in every new thread
        try:
            with torch.cuda.stream(self._stream):  # None changes nothing
                while self._wait_for_work():
                    self._admit()
                    self._advance()
        except Exception as error:
            self._log.exception("engine_died", error)
            self._end(error)
            self._on_death()
        else:
            self._end(EngineStoppedError())

    def _wait_for_work(self) -> bool:
        """Wait until a clip waits or is in flight; False when the engine is to end."""
        with self._changed:
            while not (self._stopping or self._batch.occupants or len(self._waiting)):
                self._report()
                self._changed.wait(self._meter.seconds_to_report)
            self._report()
        return not self._stopping

    def _report(self) -> None:
        if self._meter.seconds_to_report <= 0:
            in_flight, age = len(self._batch.occupants), self._waiting.age
            self._meter.report(in_flight, self._batch.free, waiting=len(self._waiting), queue_age=age)

    def _advance(self) -> None:
        if self._batch.occupants:
            started, count = time.monotonic(), len(self._batch.occupants)
            self._batch.step()
            self._pace()
            self._meter.count(count, time.monotonic() - started)
            self._batch.collect()

    def _admit(self) -> None:
        """Admit a few of the waiting clips, as slots and memory allow."""
        in_flight = len(self._batch.occupants)
        if self._hold and in_flight >= self._hold:
            return
        self._hold = 0
        with self._changed:
            jobs = self._waiting.take(min(self._batch.free, ADMITTED_AT_ONCE))
        if jobs:
            self._admit_together(jobs)

    def _admit_together(self, jobs: list[Job]) -> None:
        """Admit clips whose texts are encoded together; where that fails, one by one."""
        try:
            states = self._encode([job.tokens for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                return self._refuse(jobs[0], error)
            for job in jobs:
                self._admit_together([job])
            return None
        for job, state in zip(jobs, states, strict=True):
            self._admit_one(job, state)
        return None

    def _admit_one(self, job: Job, states: torch.Tensor) -> None:
        try:
            self._batch.admit(job, states)
        except Exception as error:
            self._refuse(job, error)

    def _refuse(self, job: Job, error: Exception) -> None:
        """Fail one clip's request; but where memory ran out beside others, let it wait until one of them has left."""
        in_flight = len(self._batch.occupants)
        if not isinstance(error, OUT_OF_MEMORY):
            job.ticket.fail(error)
        elif in_flight:
            self._hold = in_flight
            with self._changed:
                self._waiting.put_back([job])
        else:
            job.ticket.fail(DeviceMemoryError())
        self._log.write("admission_failed", error=repr(error), in_flight=in_flight)

    def _end(self, error: BaseException) -> None:
        with self._changed:
            self._stopping = True
            jobs = self._waiting.drain() + self._batch.jobs
        for job in jobs:
            job.ticket.fail(error)
