"""End a process that has stopped producing: heartbeats of the engine and the codec, and the thread that watches them.

A step, a text's encoding or a decode that never returns holds its thread for good, and no exception says so. Imports no
torch, so that the settings can use its default.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager

from musicgen_serving.json_log import JsonLog

# What may pass between two completed steps: an admission on a CPU (four texts of 512 tokens) or a step of a large model
# there takes seconds, EnCodec 2 s for the 5 s of audio of a chunk and 8 s to encode 25 s, both on one thread,
# recording a CUDA graph less than one. Kernels are compiled before the first heartbeat. This is several times the
# longest of them on a busy host.
HANG_SECONDS = 120.0
LAST_LOG_SECONDS = 5.0  # for the line that says why the process ends


class Heartbeat:
    """When a worker, while it has work, last completed a part of it. Set by the worker, read by any thread."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self._last: float | None = None

    def beat(self) -> None:
        """Work has begun, or a part of it is complete."""
        self._last = time.monotonic()

    def renew(self) -> None:
        """Part of the work is complete; at rest, nothing."""
        if self._last is not None:
            self.beat()

    def rest(self) -> None:
        """There is no work."""
        self._last = None

    @contextmanager
    def working(self) -> Generator[None]:
        """One piece of work: begun at entry, complete at exit."""
        self.beat()
        try:
            yield
        finally:
            self.rest()

    @property
    def age(self) -> float:
        """Seconds since the last beat, 0 at rest."""
        last = self._last
        return 0.0 if last is None else time.monotonic() - last


class Watchdog:
    """Logs `hung` and calls `on_death` once a heartbeat is older than `seconds`; `describe` adds fields to the line."""

    def __init__(
        self, heartbeats: tuple[Heartbeat, ...], seconds: float, *, describe: Callable[[], dict[str, object]],
        log: JsonLog, on_death: Callable[[], None],
    ) -> None:  # fmt: skip
        self._heartbeats = heartbeats
        self._seconds = seconds
        self._describe = describe
        self._log = log
        self._on_death = on_death
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        self._thread.join()

    @property
    def healthy(self) -> bool:
        """Whether every heartbeat is younger than half of the limit: earlier than the end, so that no request comes."""
        return all(heartbeat.age < self._seconds / 2 for heartbeat in self._heartbeats)

    def _run(self) -> None:
        while not self._stopped.wait(min(self._seconds / 10, 1.0)):
            if any(heartbeat.age >= self._seconds for heartbeat in self._heartbeats):
                end_process(self._report, self._on_death)
                return

    def _report(self) -> None:
        ages = {heartbeat.worker: round(heartbeat.age, 1) for heartbeat in self._heartbeats}
        worker = max(ages, key=ages.__getitem__)
        fields = {"worker": worker, "seconds": ages[worker], "limit_seconds": self._seconds}
        self._log.write("hung", **fields, **self._describe(), stacks=stacks())


def end_process(write_log: Callable[[], None], on_death: Callable[[], None]) -> None:
    """Call `on_death` after `write_log`, which gets a few seconds: a write to a pipe that nobody reads blocks."""
    try:
        thread = threading.Thread(target=write_log, name="last log line", daemon=True)
        thread.start()
        thread.join(LAST_LOG_SECONDS)
    finally:  # even if no thread can be started
        on_death()


def end_worker() -> None:
    """End the process without cleaning up, which could hang too; the supervisor starts a new worker."""
    os._exit(1)


def stacks() -> dict[str, list[str]]:
    """Return where each thread is, `file:line function` with the outermost call first, by the thread's name."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(ident, 'unknown')} {ident}": [
            f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in traceback.walk_stack(top)
        ][::-1]
        for ident, top in sys._current_frames().items()  # pyright: ignore[reportPrivateUsage]  # documented
    }
