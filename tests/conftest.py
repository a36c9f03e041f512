"""Fixtures that several parts' tests use."""

import json
import os
from pathlib import Path

import pytest

os.environ["TRITON_INTERPRET"] = (
    "1"  # the GPU's kernels run on CPUs; before transformers imports Triton, which reads it
)

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def tiny_musicgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a tiny MusicGen in the Hub's layout; read only."""
    from local_aws.tiny_musicgen import make_tiny_musicgen  # here, because it imports torch

    folder = tmp_path_factory.mktemp("tiny-musicgen")
    make_tiny_musicgen(folder)
    return folder


@pytest.fixture(scope="session")
def staged_musicgen(tiny_musicgen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as it lies in the container, unpacked: with its manifest, and without code; read only."""
    folder = tmp_path_factory.mktemp("staged") / "model"
    folder.mkdir()
    for file in tiny_musicgen.iterdir():
        (folder / file.name).symlink_to(file)
    manifest = {"layout": 1, "model_id": "facebook/musicgen-small", "revision": REVISION, "decoder_dtype": "float16"}
    (folder / "musicgen-manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder
