"""What the tarball says of itself: `musicgen-manifest.json`, written at staging (docs/contracts.md, "Tarball")."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

LAYOUT = 1


@dataclass(frozen=True)
class Checkpoint:
    """An unpacked model: its folder, the Hub's id and the commit it was staged from."""

    folder: Path
    model_id: str
    revision: str

    @property
    def size(self) -> str:
        """The part of the model's name that tells the sizes apart: `large`, `stereo-small`."""
        name = self.model_id.rsplit("/", 1)[-1].removeprefix("musicgen-")
        return re.sub(r"[^a-z0-9-]", "-", name.lower())


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the manifest of the model unpacked at `folder`; ValueError says what is wrong with it."""
    path = folder / "musicgen-manifest.json"
    if not path.is_file():
        raise ValueError(f"{path} must be the staged model's manifest, got no such file")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("layout") != LAYOUT:
        raise ValueError(f"{path} must have layout {LAYOUT}, got {manifest.get('layout')!r}")
    return Checkpoint(folder, _string(path, manifest, "model_id"), _string(path, manifest, "revision"))


def _string(path: Path, manifest: dict[str, object], name: str) -> str:
    value = manifest.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{path} must have a string {name}, got {value!r}")
    return value
