"""The model on the loopback Hub: a toy of MusicGen's architecture or of its melody variant, made by this repository."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from local_aws.hub import tune

MODEL_ID = "facebook/musicgen-large"  # the stack's default; only the name is that of Meta's model
MELODY_MODEL_ID = "facebook/musicgen-melody"


@dataclass(frozen=True)
class ToyModel:
    """A folder in the Hub's layout, with the name and commit under which the loopback Hub serves it."""

    folder: Path
    model_id: str
    revision: str
    size: int


def toy_model() -> ToyModel:
    """Return the committed toy model."""
    return _of_folder(tune.MODEL, MODEL_ID)


def toy_melody_model(folder: Path) -> ToyModel:
    """Write the toy melody model to `folder`, and return it."""
    from local_aws.hub.melody.model import write_model  # torch and transformers take seconds to import

    write_model(folder)
    return _of_folder(folder, MELODY_MODEL_ID)


def _of_folder(folder: Path, model_id: str) -> ToyModel:
    """Return a folder's model; its files are hashed into a commit id."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    commit = hashlib.sha1(usedforsecurity=False)
    for path in files:
        commit.update(path.name.encode() + path.read_bytes())
    return ToyModel(folder, model_id, commit.hexdigest(), sum(path.stat().st_size for path in files))
