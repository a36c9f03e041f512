"""What the page does when something is clicked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musicgen_client.errors import MusicGenError, PermissionMissing
from musicgen_client.ui import form, parts, views
from musicgen_client.ui.inputs import Inputs
from musicgen_client.ui.work import Run, Runs, newest

_HISTORY = 50  # rows


class Events:
    """What the page does when something is clicked.

    The generators yield values of progress, clips, Stop, history, the line about the stack and the remarks; `open`
    yields those of the form (`Inputs.outputs`), too.
    """

    def __init__(self, gr: Any, runs: Runs, folder: Path, inputs: Inputs) -> None:
        self._gr, self._runs, self._folder, self._inputs = gr, runs, folder, inputs

    def load(self) -> tuple[str, list[list[str]]]:
        """Return the line about the stack and the history."""
        return self._about(), self._history()

    def generate(self, tab: str, entered: tuple[Any, ...]) -> Iterator[list[Any]]:
        """Generate what the form says."""
        try:
            prompt, count, values = self._inputs.named(entered)
            for outputs in self._show(self._runs.generate(tab, form.read(prompt, count, values))):
                yield [*outputs, ""]
        except MusicGenError as error:
            yield [*self._failed(error), self._gr.skip()]

    def open(self, tab: str, job: str) -> Iterator[list[Any]]:
        """Show an earlier job's clips, and fill the form with its request."""
        untouched = [self._gr.skip(), *self._inputs.untouched]
        try:
            _, record = self._runs.music.history.find(job)
            entered = form.entered(record.request, self._folder)
            again = ["".join(map(views.note, entered.remarks)), *self._inputs.filled(entered)]
            for outputs in self._show(self._runs.fetch(tab, record.id)):
                yield [*outputs, *again]
                again = untouched
        except MusicGenError as error:
            yield [*self._failed(error), *untouched]

    def follow(self, audio: object, seconds: object) -> list[Any]:
        """Fill the form with a clip to continue: its s3:// URL, or the name of its file in the page's folder."""
        source = str(audio)
        if not source.startswith("s3://"):
            source = str(self._folder / Path(source).name)
        return self._inputs.continued(parts.following(source, float(str(seconds))))

    def _show(self, run: Run) -> Iterator[list[Any]]:
        same = self._gr.skip()
        yield [views.note("sending the request"), "", self._gr.update(interactive=True), same, same]
        for shown in run.snapshots():
            if not shown.ended:
                yield [views.progress(shown), same, same, same, same]
                continue
            found = views.clips(shown.clips, self._folder) if shown.clips else ""
            off = self._gr.update(interactive=False)
            yield [views.progress(shown), found, off, self._history(), self._about()]

    def _failed(self, error: MusicGenError) -> list[Any]:
        off, same = self._gr.update(interactive=False), self._gr.skip()
        return [views.failure(str(error)), same, off, same, same]

    def _history(self) -> list[list[str]]:
        return views.history_rows(newest(self._runs.music, _HISTORY))

    def _about(self) -> str:
        """Return the line about the stack; an endpoint that has failed or does not exist is an error at once."""
        music = self._runs.music
        try:
            status = music.status()
        except PermissionMissing:  # a client's policy need not allow it
            status = None
        except MusicGenError as error:
            return views.failure(str(error))
        return views.endpoint(music.stack.name, status, music.stack.usd_per_hour)
