"""The model on the loopback Hub: MusicGen's architecture, tiny, with random weights."""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from local_aws.emulator.child_processes import describe_exit
from local_aws.walkthrough.report import StepFailed

MODEL_ID = "facebook/musicgen-large"  # the stack's default; only the name is that of Meta's model


@dataclass(frozen=True)
class TinyModel:
    """A folder in the Hub's layout, with the name and commit under which the loopback Hub serves it."""

    folder: Path
    model_id: str
    revision: str
    size: int


def make_tiny_model(folder: Path) -> TinyModel:
    """Generate the model in a child process, because that imports torch, and hash it into a commit id."""
    command = [sys.executable, "-m", "local_aws.hub.tiny_model", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode != 0:
        raise StepFailed(f"generating the tiny model {describe_exit(made.returncode)}\n{made.stderr}".rstrip())
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    commit = hashlib.sha1(usedforsecurity=False)
    for path in files:
        commit.update(path.name.encode() + path.read_bytes())
    return TinyModel(folder, MODEL_ID, commit.hexdigest(), sum(path.stat().st_size for path in files))
