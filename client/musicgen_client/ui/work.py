"""Run the client in a thread of its own, and say again and again what a display should show of it."""

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from musicgen_client.api import MusicGen, OnUpdate
from musicgen_client.clip import Clip
from musicgen_client.errors import InvalidRequest, MusicGenError
from musicgen_client.jobs import Update
from musicgen_client.journal import Record
from musicgen_client.requests.request import Request

MAX_RUNS = 8  # at once, for all tabs of the page
_LOOK_SECONDS = 0.5  # between two snapshots
_ASK_SECONDS = 15.0  # between two questions about the endpoint while a request waits
STOP_SECONDS = 10.0  # after Stop, until the page no longer waits for the endpoint's answer
_WAITING = ("sending", "planned", "queued", "in doubt")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """What is known of a run now. It has ended if it is `done`, with clips or an error, or `left`: nobody waits."""

    stage: str = "sending"  # asleep, waking, or a stage of jobs.Update
    percent: float | None = None
    detail: str = ""
    job: str = ""
    seconds: float = 0.0  # since the start
    stopping: bool = False
    clips: tuple[Clip, ...] = ()
    error: str = ""
    done: bool = False
    left: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.done or self.left


class Run:
    """One call of the client, `work`, in a thread that goes on when nobody looks: its journal ends as it should."""

    def __init__(
        self, music: MusicGen, work: Callable[[OnUpdate], list[Clip]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._music, self._work, self._clock = music, work, clock
        self._started, self._asked, self._stopped_at = clock(), -_ASK_SECONDS, 0.0
        self._lock = threading.Lock()
        self._now = Snapshot()
        self._endpoint = self._stop_error = ""
        self._can_ask = True
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True, name="musicgen-run")
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread still waits for the endpoint."""
        return self._thread.is_alive()

    @property
    def job(self) -> str:
        """The job's id; empty until it is planned."""
        return self._now.job

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield what to show, twice a second and when the run ends; the last one has `ended`."""
        while True:
            shown = self._look()
            yield shown
            if shown.ended:
                return
            self._changed.wait(_LOOK_SECONDS)

    def stop(self) -> None:
        """Ask the endpoint to end the job, as soon as it has an id. An error is shown, and the run goes on."""
        with self._lock:
            if self._now.stopping:
                return
            self._now, self._stop_error = replace(self._now, stopping=True), ""
            self._stopped_at, job = self._clock(), self._now.job
        if job:
            self._cancel(job)

    def _main(self) -> None:
        try:
            clips = self._work(self._receive)
            self._end(clips=tuple(clips))
        except MusicGenError as error:
            self._end(error=str(error))
        except Exception as error:  # whatever it is, somebody is looking at the page and waits
            _log.exception("the run has failed")
            self._end(error=f"unexpected {type(error).__name__}: {error}")

    def _receive(self, update: Update) -> None:
        with self._lock:
            first = not self._now.job
            detail = update.detail if update.stage in ("retrying", "in doubt") else ""
            self._now = replace(self._now, job=update.job, stage=update.stage, percent=update.percent, detail=detail)
            cancel = first and self._now.stopping
        if cancel:
            self._cancel(update.job)

    def _cancel(self, job: str) -> None:
        try:
            self._music.transport.cancel(job)
        except MusicGenError as error:
            with self._lock:
                self._now = replace(self._now, stopping=False)
                self._stop_error = f"Stop has no effect: {error}"

    def _end(self, *, clips: tuple[Clip, ...] = (), error: str = "") -> None:
        with self._lock:
            self._now = replace(self._now, clips=clips, error=error, done=True)
        self._changed.set()

    def _look(self) -> Snapshot:
        with self._lock:
            now = replace(self._now, detail=self._stop_error or self._now.detail)
        if now.stage in _WAITING and not now.ended:
            self._ask_endpoint()
            stage = self._endpoint if self._endpoint in ("asleep", "waking") else now.stage
            now = replace(now, stage=stage)
        given_up = now.stopping and not now.ended and self._clock() - self._stopped_at >= STOP_SECONDS
        return replace(now, seconds=self._clock() - self._started, left=given_up)

    def _ask_endpoint(self) -> None:
        """Ask now and then whether an instance runs; a client's policy need not allow it."""
        if not self._can_ask or self._clock() - self._asked < _ASK_SECONDS:
            return
        self._asked = self._clock()
        try:
            self._endpoint = self._music.status().state
        except MusicGenError as error:
            _log.info("the endpoint's state is not shown: %s", error)
            self._can_ask, self._endpoint = False, ""


class Runs:
    """The runs of a page, by the tab that started them."""

    def __init__(self, music: MusicGen) -> None:
        self.music = music
        self._of_tab: dict[str, Run] = {}
        self._all: list[Run] = []
        self._lock = threading.Lock()

    def generate(self, tab: str, request: Request) -> Run:
        """Start to generate a request."""
        return self._start(tab, lambda on_update: self.music.generate_all(request, on_update=on_update))

    def fetch(self, tab: str, job: str) -> Run:
        """Start to fetch the clips of an earlier job, waiting if it is not finished."""
        return self._start(tab, lambda on_update: self.music.fetch(job, on_update=on_update))

    def stop(self, tab: str) -> None:
        """Stop what the tab started last."""
        if run := self._of_tab.get(tab):
            run.stop()

    def open_jobs(self) -> list[str]:
        """Return the ids of the jobs that have no result yet."""
        return [run.job for run in self._all if run.alive and run.job]

    def _start(self, tab: str, work: Callable[[OnUpdate], list[Clip]]) -> Run:
        with self._lock:
            self._all = [run for run in self._all if run.alive]
            self._of_tab = {name: run for name, run in self._of_tab.items() if run.alive}
            if len(self._all) >= MAX_RUNS:
                raise InvalidRequest(f"at most {MAX_RUNS} requests can be under way at once; wait for one, or stop one")
            run = Run(self.music, work)
            self._all.append(run)
            self._of_tab[tab] = run
            return run


def newest(music: MusicGen, limit: int) -> list[Record]:
    """Return the last jobs of this machine's journals, the newest first."""
    return heapq.nlargest(limit, (record for _, record in music.history.records()), key=lambda item: item.planned_at)
