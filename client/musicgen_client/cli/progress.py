"""Show what happens to the jobs: one live line on a terminal, plain lines elsewhere, always on standard error."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.status import Status as Spinner

from musicgen_client.errors import MusicGenError
from musicgen_client.jobs import FINISHED, Update
from musicgen_client.status import HINTS, Status

_ASK_SECONDS = 15.0  # between two questions about the endpoint while requests wait


class Progress:
    """Receives the runner's updates; a context manager."""

    def __init__(self, console: Console, ask: Callable[[], Status], *, quiet: bool = False) -> None:
        self._console, self._ask, self._quiet = console, ask, quiet
        self._stages: dict[str, str] = {}
        self._done = 0
        self._started = self._asked = time.monotonic()
        self._can_ask = True
        self._hint = ""
        self._spinner: Spinner | None = None

    def __enter__(self) -> "Progress":
        if self._console.is_terminal and not self._quiet:
            self._spinner = self._console.status("sending")
            self._spinner.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if self._spinner:
            self._spinner.stop()

    @property
    def open_jobs(self) -> list[str]:
        """The jobs that were sent, or may have been, and have no result yet."""
        return list(self._stages)

    def __call__(self, update: Update) -> None:
        """Show an update."""
        changed = self._stages.get(update.job) != update.stage
        if update.stage in FINISHED:
            self._stages.pop(update.job, None)
            self._done += 1
        else:
            self._stages[update.job] = update.stage
        hint_changed = update.stage in ("queued", "in doubt") and self._ask_endpoint()
        if self._quiet:
            return
        if self._spinner:
            self._spinner.update(self._line(update))
        elif changed:
            detail = f": {update.detail}" if update.detail else ""
            self._console.print(f"{update.job} {update.stage}{detail}", markup=False, highlight=False, soft_wrap=True)
        if hint_changed and not self._spinner:
            self._console.print(self._hint, markup=False, highlight=False, soft_wrap=True)

    def _line(self, update: Update) -> str:
        elapsed = f"{time.monotonic() - self._started:.0f} s"
        if len(self._stages) > 1 or self._done > 1:
            counts = ", ".join(
                f"{list(self._stages.values()).count(s)} {s}" for s in sorted(set(self._stages.values()))
            )
            return f"{self._done} done, {counts or 'nothing open'} ({elapsed}) {self._hint}"
        percent = "" if update.percent is None else f" {update.percent:.0f} %"
        return f"{update.stage}{percent} ({elapsed}) {self._hint if update.stage == 'queued' else ''}"

    def _ask_endpoint(self) -> bool:
        """Ask now and then whether an instance runs; without the permission, say nothing. Return whether it changed."""
        now = time.monotonic()
        if not self._can_ask or (now - self._asked < _ASK_SECONDS and self._hint):
            return False
        self._asked, before = now, self._hint
        try:
            self._hint = HINTS.get(self._ask().state, "an instance is running")
        except MusicGenError:  # a client's policy need not allow it
            self._can_ask, self._hint = False, ""
        return self._hint != before and self._hint != ""
