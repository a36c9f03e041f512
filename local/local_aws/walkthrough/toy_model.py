"""The model on the loopback Hub: a toy of MusicGen's architecture, which is part of this repository."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from local_aws.hub import tune

MODEL_ID = "facebook/musicgen-large"  # the stack's default; only the name is that of Meta's model


@dataclass(frozen=True)
class ToyModel:
    """A folder in the Hub's layout, with the name and commit under which the loopback Hub serves it."""

    folder: Path
    model_id: str
    revision: str
    size: int


def toy_model() -> ToyModel:
    """Return the committed toy model; its files are hashed into a commit id."""
    files = sorted(path for path in tune.MODEL.rglob("*") if path.is_file())
    commit = hashlib.sha1(usedforsecurity=False)
    for path in files:
        commit.update(path.name.encode() + path.read_bytes())
    return ToyModel(tune.MODEL, MODEL_ID, commit.hexdigest(), sum(path.stat().st_size for path in files))
