"""The page itself: Gradio's components, what they call, and a server on this machine alone."""

# Gradio is optional, and not in the environment of the type checker.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

import os
import re
import tempfile
import threading
import webbrowser
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from musicgen_client.api import MusicGen
from musicgen_client.errors import ExtraMissing, MusicGenError, PermissionMissing
from musicgen_client.requests import MAX_TEXTS, Request
from musicgen_client.ui import form, views
from musicgen_client.ui.work import Run, Runs, newest

HOST = "127.0.0.1"
_HISTORY = 50  # rows
_MAIN = ("duration", "seed")  # the other parameters are folded in
# Everything comes from this server; a browser refuses the rest, so the page works, and looks the same, offline.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "frame-ancestors 'none'"
)
_Message = dict[str, Any]


class Guard:
    """ASGI middleware: answer only a browser that asks for this machine by name, and let the page load nothing else.

    A site whose own name is made to resolve to 127.0.0.1 (DNS rebinding) has another Host, a form or script of another
    site another Origin: both get 403.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        own = re.fullmatch(r"(127\.0\.0\.1|localhost)(:\d+)?", host)
        if scope["type"] != "http" or not own or origin not in (None, f"http://{host}"):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"this page is for this machine only"})
            return

        async def send_with_policy(message: _Message) -> None:
            if message["type"] == "http.response.start":
                added = [(b"content-security-policy", _POLICY.encode()), (b"x-content-type-options", b"nosniff")]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self._app(scope, receive, send_with_policy)


def serve(music: MusicGen, *, port: int | None, browser: bool, announce: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C; `port` is by default the first free one from 7860.

    Raises ExtraMissing without Gradio, and MusicGenError if the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="musicgen-ui-") as name:
        folder = Path(name).resolve()
        # Read by Gradio when it is imported: no telemetry, no look for a newer version, no files left behind.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", GRADIO_TEMP_DIR=str(folder / "gradio"))
        # Gradio asks its own server for an answer, which must not go through a proxy.
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), HOST)))
        runs = Runs(music)
        page = build(runs, folder)
        try:
            _, address, _ = page.launch(
                share=False, server_name=HOST, server_port=port, inbrowser=False, prevent_thread_lock=True, quiet=True,
                allowed_paths=[str(folder)], max_file_size=1, footer_links=[], run_history=False, ssr_mode=False,
                mcp_server=False, enable_monitoring=False, css=views.STYLE,
                app_kwargs={"middleware": [(Guard, (), {})]},
            )  # fmt: skip
        except OSError as error:
            raise MusicGenError(f"port {port or 'from 7860'} must be free, and is not ({error})") from error
        announce(f"the page is at {address} until Ctrl-C")
        if browser:
            webbrowser.open(address)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            for job in runs.open_jobs():
                announce(f"a request goes on; fetch it with: musicgen --stack {music.stack.name} get {job}")
        finally:
            page.close(verbose=False)


def build(runs: Runs, folder: Path) -> Any:
    """Return the page as Gradio's Blocks; clips are written to `folder`."""
    try:
        import gradio as gr
    except ImportError as error:
        raise ExtraMissing(f"the page needs Gradio: pip install 'musicgen-client[ui]' ({error})") from error
    fields = form.fields()
    events = _Events(gr, runs, folder, fields)

    # Gradio passes the tab and the row to parameters with these annotations.
    def generate(request: gr.Request, *entered: Any) -> Iterator[list[Any]]:
        yield from events.generate(str(request.session_hash), *entered)

    def open_job(request: gr.Request, event: gr.SelectData) -> Iterator[list[Any]]:
        yield from events.open(str(request.session_hash), str(event.row_value[-1]))

    def stop(request: gr.Request) -> None:
        runs.stop(str(request.session_hash))

    with gr.Blocks(title=f"MusicGen: {runs.music.stack.name}", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown("# MusicGen")
        about = gr.HTML()
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                prompt = gr.Textbox(
                    label="prompt", lines=3, max_length=1000, elem_id="prompt", autofocus=True,
                    placeholder="80s pop track with bassy drums and synth",
                )  # fmt: skip
                count = gr.Slider(
                    1,
                    MAX_TEXTS,
                    2,
                    step=1,
                    label="variations",
                    info="Clips side by side, with consecutive seeds.",
                    elem_id="count",
                )
                inputs = {field.name: _input(gr, field) for field in fields if field.name in _MAIN}
                with gr.Row():
                    start = gr.Button("Generate", variant="primary", elem_id="generate")
                    halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop")
                with gr.Accordion("more parameters", open=False, elem_id="more"):
                    inputs |= {field.name: _input(gr, field) for field in fields if field.name not in _MAIN}
            with gr.Column(scale=5, min_width=480):
                progress = gr.HTML(elem_id="progress")
                clips = gr.HTML(elem_id="clips")
                table = gr.Dataframe(
                    headers=list(views.COLUMNS), datatype="str", type="array", interactive=False, wrap=False,
                    label="history of this machine; click a row to hear it again and to take its parameters",
                    show_label=True, max_height=260, elem_id="history", buttons=[],
                    column_widths=["19%", "35%", "14%", "8%", "12%", "12%"],
                )  # fmt: skip
        entered = [prompt, count, *(inputs[field.name] for field in fields)]
        shown = [progress, clips, halt, table, about]
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        gr.on([start.click, prompt.submit], generate, entered, shown, concurrency_limit=None, **private)
        table.select(open_job, None, [*shown, *entered], concurrency_limit=None, **private)
        halt.click(stop, None, None, queue=False, **private)
        page.load(events.load, None, [about, table], **private)
    return page


def _input(gr: Any, field: form.Field) -> Any:
    """Return the component of a parameter."""
    common: dict[str, Any] = {
        "label": field.label, "info": field.explanation, "value": field.initial, "elem_id": f"field-{field.name}",
    }  # fmt: skip
    if field.kind == "boolean":
        return gr.Checkbox(**common)
    if field.kind == "text":
        return gr.Textbox(**common, max_length=1000)
    if field.optional:  # an empty gr.Number is 0
        return gr.Textbox(**common, max_length=20, placeholder="random")
    return gr.Slider(**common, minimum=field.minimum, maximum=field.maximum, step=field.step)


class _Events:
    """What the page does when something is clicked.

    The generators yield values of progress, clips, Stop, history and the line about the stack; `open`, also the form's.
    """

    def __init__(self, gr: Any, runs: Runs, folder: Path, fields: list[form.Field]) -> None:
        self._gr, self._runs, self._folder, self._fields = gr, runs, folder, fields

    def load(self) -> tuple[str, list[list[str]]]:
        """Return the line about the stack and the history."""
        return self._about(), self._history()

    def generate(self, tab: str, prompt: str, count: float, *values: Any) -> Iterator[list[Any]]:
        """Generate what the form says."""
        try:
            named = dict(zip((field.name for field in self._fields), values, strict=True))
            yield from self._show(self._runs.generate(tab, form.read(prompt, count, named)))
        except MusicGenError as error:
            yield self._failed(error)

    def open(self, tab: str, job: str) -> Iterator[list[Any]]:
        """Show an earlier job's clips, and fill the form with its request."""
        untouched = [self._gr.skip()] * (2 + len(self._fields))
        try:
            _, record = self._runs.music.history.find(job)
            prompt, count, values = form.entered(Request.from_body(record.request))
            again: list[Any] = [prompt, count, *(values[field.name] for field in self._fields)]
            for outputs in self._show(self._runs.fetch(tab, record.id)):
                yield [*outputs, *again]
                again = untouched
        except MusicGenError as error:
            yield [*self._failed(error), *untouched]

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
