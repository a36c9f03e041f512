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
from musicgen_client.errors import ExtraMissing, MusicGenError
from musicgen_client.requests.audio import MAX_FILE_BYTES
from musicgen_client.ui import views
from musicgen_client.ui.events import Events
from musicgen_client.ui.inputs import Inputs
from musicgen_client.ui.work import Runs

HOST = "127.0.0.1"
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
                allowed_paths=[str(folder)], max_file_size=MAX_FILE_BYTES, footer_links=[], run_history=False,
                ssr_mode=False, mcp_server=False, enable_monitoring=False, css=views.STYLE,
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

    with gr.Blocks(title=f"MusicGen: {runs.music.stack.name}", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown("# MusicGen")
        about = gr.HTML(elem_id="about")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                inputs = Inputs(gr)
            with gr.Column(scale=5, min_width=320):
                progress = gr.HTML(elem_id="progress")
                remarks = gr.HTML(elem_id="remarks")
                clips = gr.HTML(elem_id="clips", js_on_load=views.ON_CONTINUE)
                table = gr.Dataframe(
                    headers=list(views.COLUMNS), datatype="str", type="array", interactive=False, wrap=False,
                    label="history of this machine; click a row to hear it again and to take its parameters",
                    show_label=True, max_height=260, elem_id="history", buttons=[],
                    column_widths=["19%", "35%", "14%", "8%", "12%", "12%"],
                )  # fmt: skip
        events = Events(gr, runs, folder, inputs)

        # Gradio passes the tab, and what was clicked, to parameters with these annotations.
        def generate(request: gr.Request, *entered: Any) -> Iterator[list[Any]]:
            yield from events.generate(str(request.session_hash), entered)

        def open_job(request: gr.Request, event: gr.SelectData) -> Iterator[list[Any]]:
            yield from events.open(str(request.session_hash), str(event.row_value[-1]))

        def follow(event: gr.EventData) -> list[Any]:
            return events.follow(event.audio, event.seconds)

        def stop(request: gr.Request) -> None:
            runs.stop(str(request.session_hash))

        shown = [progress, clips, inputs.halt, table, about, remarks]
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        gr.on(
            [inputs.start.click, inputs.prompt.submit], generate, inputs.all, shown, concurrency_limit=None, **private
        )
        table.select(open_job, None, [*shown, *inputs.outputs], concurrency_limit=None, **private)
        clips.click(follow, None, inputs.outputs, queue=False, **private)
        inputs.halt.click(stop, None, None, queue=False, **private)
        page.load(events.load, None, [about, table], **private)
        inputs.listen(private)
    return page
