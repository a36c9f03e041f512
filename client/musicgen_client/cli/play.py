"""Play a WAV file with a program that the system has."""

import shutil
import subprocess
from pathlib import Path

from musicgen_client.errors import MusicGenError

_PLAYERS = (
    ("afplay",),
    ("paplay",),
    ("pw-play",),
    ("aplay", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
    ("play", "-q"),
)


def play(path: Path) -> None:
    """Play a file to its end; MusicGenError if there is no player, or it fails."""
    for program, *options in _PLAYERS:
        if found := shutil.which(program):
            done = subprocess.run([found, *options, str(path.absolute())], check=False)
            if done.returncode:
                raise MusicGenError(f"{program} could not play {path} (exit status {done.returncode})")
            return
    names = ", ".join(program for program, *_ in _PLAYERS)
    raise MusicGenError(f"there is no program to play {path}; install one of {names}")
