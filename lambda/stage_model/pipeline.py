"""Parts on several threads: built and shipped in any order, hashed in theirs.

Threads suffice: TLS, hashing and socket I/O release the interpreter lock.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from stage_model.errors import StagingError, SupersededError

Job = TypeVar("Job")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Steps(Generic[Job, Made]):
    """What is done with each job."""

    build: Callable[[Job, memoryview], Made]
    take: Callable[[Job, Made], None]
    ship: Callable[[Job, Made], None]


class Pipeline(Protocol):
    """Does jobs in three steps: `build` (parallel), `take` (one at a time, in job order), `ship` (parallel)."""

    def run(self, jobs: Sequence[Job], steps: Steps[Job, Made], buffer_size: int) -> None:
        """Do every job; each build gets a buffer of that many bytes, its own until the job is shipped.

        Raises the gravest of the errors once nothing runs any more.
        """
        ...


class ThreadPipeline:
    """Each thread has one buffer, so memory is bounded by threads times the largest part."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def run(self, jobs: Sequence[Job], steps: Steps[Job, Made], buffer_size: int) -> None:
        """Do every job."""
        shift = _Shift(jobs)
        workers = min(self._threads, len(jobs))
        with ThreadPoolExecutor(max(1, workers), thread_name_prefix="stage") as pool:
            for _ in range(workers):
                pool.submit(_work, shift, steps, buffer_size)
        raise_gravest(shift.errors)


def raise_gravest(errors: Sequence[BaseException]) -> None:
    """Raise what decides the run's end: losing the request, then a final error, then whatever came first."""
    for kind in (SupersededError, StagingError):
        for error in errors:
            if isinstance(error, kind):
                raise error
    for error in errors:
        raise error


def _work(shift: "_Shift[Job]", steps: Steps[Job, Made], buffer_size: int) -> None:
    try:
        buffer = memoryview(bytearray(buffer_size))
        while (turn := shift.next_turn()) is not None:
            job = shift.jobs[turn]
            made = steps.build(job, buffer)
            if not shift.wait_for(turn):
                return
            steps.take(job, made)
            shift.done(turn)
            steps.ship(job, made)
    except BaseException as error:  # handed to the caller of `run`, which raises it
        shift.fail(error)


class _Shift(Generic[Job]):
    """What the threads of one run share."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self._changed = threading.Condition()
        self._handed_out = 0
        self._taken = 0
        self.errors: list[BaseException] = []

    def next_turn(self) -> int | None:
        with self._changed:
            if self.errors or self._handed_out == len(self.jobs):
                return None
            self._handed_out += 1
            return self._handed_out - 1

    def wait_for(self, turn: int) -> bool:
        """Wait until all earlier jobs are taken; False if one failed."""
        with self._changed:
            self._changed.wait_for(lambda: self.errors or self._taken == turn)
            return not self.errors

    def done(self, turn: int) -> None:
        with self._changed:
            self._taken = turn + 1
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self.errors.append(error)
            self._changed.notify_all()
