"""The command `musicgen`."""

from musicgen_client.cli.app import app as _commands
from musicgen_client.cli.app import main
from musicgen_client.cli.page import ui

_commands.command()(ui)

__all__ = ["main"]
