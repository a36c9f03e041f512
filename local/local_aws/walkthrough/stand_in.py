"""The model that the loopback Hub serves: MusicGen's own architecture, tiny, with random weights."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from local_aws.walkthrough.report import StepFailed

MODEL_ID = "facebook/musicgen-large"  # the stack's default; the name is all that it shares with Meta's model


@dataclass(frozen=True)
class StandIn:
    """A folder in the Hub's layout and the name and commit that the loopback Hub gives it."""

    folder: Path
    model_id: str
    revision: str
    size: int


def make_stand_in(folder: Path) -> StandIn:
    """Make the model in a child process (it imports torch) and derive its "commit" from what was made."""
    command = [sys.executable, "-m", "local_aws.hub.tiny_model", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode != 0:
        raise StepFailed(f"the stand-in could not be made:\n{made.stderr}")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    commit = hashlib.sha1(usedforsecurity=False)
    for path in files:
        commit.update(path.name.encode() + path.read_bytes())
    return StandIn(folder, MODEL_ID, commit.hexdigest(), sum(path.stat().st_size for path in files))
