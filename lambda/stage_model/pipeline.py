"""Parts on several threads: built and shipped in any order, hashed in theirs.

Threads suffice: TLS, hashing and socket I/O release the interpreter lock.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from stage_model.errors import StagingError

Job = TypeVar("Job")
Made = TypeVar("Made")


class Pipeline(Generic[Job, Made]):
    """Runs jobs through three steps: `build` (parallel), `take` (one at a time, in job order), `ship` (parallel).

    Each thread has one buffer, so memory is bounded by threads times the largest part.
    """

    def __init__(
        self,
        build: Callable[[Job, memoryview], Made],
        take: Callable[[Job, Made], None],
        ship: Callable[[Job, Made], None],
    ) -> None:
        self._build, self._take, self._ship = build, take, ship

    def run(self, jobs: Sequence[Job], threads: int, buffer_size: int) -> None:
        """Do every job. Raises the first final error, else the first other one, once all threads have stopped."""
        shift = _Shift(jobs)
        workers = min(threads, len(jobs))
        with ThreadPoolExecutor(max(1, workers), thread_name_prefix="stage") as pool:
            for _ in range(workers):
                pool.submit(self._work, shift, buffer_size)
        shift.raise_error()

    def _work(self, shift: "_Shift[Job]", buffer_size: int) -> None:
        try:
            buffer = memoryview(bytearray(buffer_size))
            while (turn := shift.next_turn()) is not None:
                job = shift.jobs[turn]
                made = self._build(job, buffer)
                if not shift.wait_for(turn):
                    return
                self._take(job, made)
                shift.done(turn)
                self._ship(job, made)
        except BaseException as error:  # handed to the caller of `run`, which raises it
            shift.fail(error)


class _Shift(Generic[Job]):
    """What the threads of one run share."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self._changed = threading.Condition()
        self._handed_out = 0
        self._taken = 0
        self._errors: list[BaseException] = []

    def next_turn(self) -> int | None:
        with self._changed:
            if self._errors or self._handed_out == len(self.jobs):
                return None
            self._handed_out += 1
            return self._handed_out - 1

    def wait_for(self, turn: int) -> bool:
        """Wait until all earlier jobs are taken; False if one failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._errors or self._taken == turn)
            return not self._errors

    def done(self, turn: int) -> None:
        with self._changed:
            self._taken = turn + 1
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self._errors.append(error)
            self._changed.notify_all()

    def raise_error(self) -> None:
        final = [error for error in self._errors if isinstance(error, StagingError)]
        for error in final or self._errors:
            raise error
