"""The command `musicgen`."""

from musicgen_client.cli.app import main

__all__ = ["main"]
