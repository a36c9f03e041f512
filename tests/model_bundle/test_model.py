"""A staged model's manifest."""

import json
from pathlib import Path
from typing import Any

import pytest

from musicgen_serving.model import Checkpoint, read_checkpoint


def test_reads_the_manifest(staged_musicgen: Path) -> None:
    checkpoint = read_checkpoint(staged_musicgen)
    assert (checkpoint.model_id, checkpoint.size) == ("facebook/musicgen-small", "small")
    assert len(checkpoint.revision) == 40


@pytest.mark.parametrize(
    ("model_id", "size"),
    [("facebook/musicgen-stereo-large", "stereo-large"), ("me/My_Model/x", "x"), ("me/My_Model", "my-model")],
)
def test_derives_the_size_from_the_models_name(model_id: str, size: str) -> None:
    assert Checkpoint(Path(), model_id, "").size == size


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"layout": 2}, "must have layout 1, got 2"),
        ({"layout": 1, "model_id": ""}, "must have a string model_id, got ''"),
        ({"layout": 1, "model_id": "a/b"}, "must have a string revision, got None"),
    ],
)
def test_rejects_an_invalid_manifest(tmp_path: Path, manifest: dict[str, Any], message: str) -> None:
    (tmp_path / "musicgen-manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path)


def test_rejects_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no musicgen-manifest\.json; it is not a staged model"):
        read_checkpoint(tmp_path)
