"""Options that belong to every command, before or after its name."""

from itertools import islice
from typing import Any

from typer.core import TyperGroup


class Commands(TyperGroup):
    """The commands; --stack and --region may also follow a command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move the two options to the front, where they belong to all commands."""
        moved, kept, rest = list[str](), list[str](), iter(args)
        for argument in rest:
            if argument == "--":
                kept += [argument, *rest]
            elif argument in ("--stack", "--region"):
                moved += [argument, *islice(rest, 1)]
            else:
                (moved if argument.startswith(("--stack=", "--region=")) else kept).append(argument)
        return super().parse_args(ctx, moved + kept)
