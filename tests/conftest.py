"""Fixtures that several parts' tests use."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

# The GPU's kernels run on CPUs; set before transformers imports Triton, which reads it. `make test-gpu` says 0.
os.environ.setdefault("TRITON_INTERPRET", "1")

LEFT_OUT = pytest.StashKey[str]()
REVISION = "0123456789abcdef0123456789abcdef01234567"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only a GPU can show where there is none, or where kernels are to be interpreted."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and (reason := no_gpu()):
        left_out(config, f"{len(marked)} tests marked gpu are deselected: {reason}")
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]


def left_out(config: pytest.Config, line: str) -> None:
    """Note what to say at the end; a worker of pytest-xdist gives it to the process that says it."""
    config.stash[LEFT_OUT] = line
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = line  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker has left out."""
    if line := getattr(node, "workeroutput", {}).get("left_out"):
        node.config.stash[LEFT_OUT] = line


def no_gpu() -> str | None:
    """Why tests of a GPU cannot run here."""
    import torch  # whoever collected such a test has imported it

    if not torch.cuda.is_available():
        return "there is no CUDA device"
    return "kernels are interpreted; make test-gpu runs them" if os.environ["TRITON_INTERPRET"] == "1" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out."""
    if line := config.stash.get(LEFT_OUT, None):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def tiny_musicgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a tiny MusicGen in the Hub's layout; read only."""
    from local_aws.hub.tiny_model import make_tiny_musicgen  # here, because it imports torch

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
