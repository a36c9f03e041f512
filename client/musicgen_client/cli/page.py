"""The command `musicgen ui`, which needs Gradio."""

from typing import Annotated

import typer

from musicgen_client.cli import app as commands
from musicgen_client.ui.page import serve


def ui(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="port on 127.0.0.1 (default: the first free one from 7860)")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="only print the address")] = False,
) -> None:
    """Open a page on this machine to generate, compare and download clips; pip install 'musicgen-client[ui]'."""
    serve(commands.connect(context.obj), port=port, browser=not no_browser, announce=typer.echo)
