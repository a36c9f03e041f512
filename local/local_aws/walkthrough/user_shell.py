"""What a user of a running stack needs in a shell of their own: an environment file, and commands to try."""

import shlex
import shutil
import sys
from pathlib import Path

from local_aws.emulator.environment import shell_exports
from local_aws.emulator.process import LocalAws

PLAYERS = ("afplay", "paplay", "pw-play", "aplay", "ffplay", "play")  # as the client's `--play` finds
PROMPT = "a happy, fast dance in G major"


def write_environment(project: Path, state: Path, aws: LocalAws, stack: str) -> Path:
    """Write the file to `source`: the embedded AWS, the stack's name, and the project's commands on PATH."""
    script = state / "environment.sh"
    python = Path(sys.executable)
    command = state / "bin" / "musicgen"
    command.parent.mkdir(exist_ok=True)
    program = "from musicgen_client.cli import main; main()"
    command.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(project / 'client'))} "
        f'exec {shlex.quote(str(python))} -c "{program}" "$@"\n',
        encoding="utf-8",
    )
    command.chmod(0o755)
    folders = ":".join(shlex.quote(str(folder)) for folder in (command.parent, python.parent))
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
        "npx cdk --version",
    ]
