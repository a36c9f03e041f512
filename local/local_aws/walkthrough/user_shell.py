"""What a user of a running stack needs in a shell of their own: an environment file, and commands to try."""

import shlex
import shutil
import sys
from pathlib import Path

from local_aws.emulator.environment import shell_exports
from local_aws.emulator.process import LocalAws

PLAYERS = ("afplay", "paplay", "pw-play", "aplay", "ffplay", "play")  # as the client's `--play` finds
PROMPT = "a happy, fast dance in G major"


def command(state: Path) -> Path:
    """Return the command `musicgen` of a run, which runs the client from this repository."""
    return state / "bin" / "musicgen"


def write_environment(project: Path, state: Path, aws: LocalAws, stack: str, python: Path | None = None) -> Path:
    """Write the file to `source`: the embedded AWS, the stack's name, and the project's commands on PATH.

    `musicgen` runs with the packages of `python`, by default this one.
    """
    script, musicgen, own_tools = state / "environment.sh", command(state), Path(sys.executable).parent
    musicgen.parent.mkdir(exist_ok=True)
    program = "from musicgen_client.cli import main; main()"
    musicgen.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(project / 'client'))} "
        f'exec {shlex.quote(str(python or sys.executable))} -c "{program}" "$@"\n',
        encoding="utf-8",
    )
    musicgen.chmod(0o755)
    tools = (musicgen.parent, own_tools, project / "node_modules" / ".bin")
    folders = ":".join(shlex.quote(str(folder)) for folder in tools)
    script.write_text(
        shell_exports(aws.environment())
        + f"export MUSICGEN_STACK={stack} MUSICGEN_STATE={shlex.quote(str(state / 'client'))}\n"
        + f'export PATH={folders}:"$PATH"\n',
        encoding="utf-8",
    )
    return script


def commands(script: Path) -> list[str]:
    """Return commands for a fresh shell, in the order in which to try them. `--play` only where something can play."""
    play = " --play" if any(shutil.which(player) for player in PLAYERS) else ""
    return [
        f"source {shlex.quote(str(script))}",
        "musicgen status",
        f'musicgen generate "{PROMPT}" -d 5 --seed 7 -o clips{play}',
        "musicgen list",
    ]
