"""The command `musicgen`."""

from musicgen_client.cli.app import app as _commands
from musicgen_client.cli.app import main
from musicgen_client.cli.page import ui
from musicgen_client.cli.state import status, wake, watch

for _command in (status, wake, watch, ui):
    _commands.command()(_command)

__all__ = ["main"]
