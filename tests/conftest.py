"""Fixtures that several parts' tests use."""

import faulthandler
import gc
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The GPU's kernels run on CPUs; set before transformers imports Triton, which reads it. `make test-gpu` says 0.
os.environ.setdefault("TRITON_INTERPRET", "1")

DESELECTED = pytest.StashKey[str]()
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True, scope="session")
def no_sudden_exit() -> Iterator[None]:
    """Fail a thread that would end the test process, as a watchdog on a machine that stood still; print all stacks.

    Without it the process vanishes without a word, and its tests with it.
    """
    exit_now, test_process = os._exit, os.getpid()

    def refuse(status: int) -> None:
        if os.getpid() != test_process:  # a fork
            exit_now(status)
        faulthandler.dump_traceback(sys.__stderr__)  # pyright: ignore[reportArgumentType]
        raise AssertionError(f"os._exit({status}) in the process that runs the tests")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "_exit", refuse)
        yield


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of moto's S3, a server: in one process, moto mixes up what two threads ask."""
    from moto.server import ThreadedMotoServer  # it takes a second

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def pytest_configure() -> None:
    """Search for garbage less often: a quarter of the tests' time went into searches of a million living objects."""
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect GPU tests where there is no GPU, or where kernels are interpreted; begin with the longest files."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and (reason := no_gpu()):
        note_deselected(config, f"{len(marked)} tests marked gpu are deselected: {reason}")
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]
    start_longest_first(items)


def start_longest_first(items: list[pytest.Item]) -> None:
    """Order files by the time that their tests are allowed, so that at the end no worker is left alone with one."""
    allowed: dict[Path, float] = defaultdict(float)
    for item in items:
        if mark := item.get_closest_marker("timeout"):
            allowed[item.path] = max(allowed[item.path], mark.args[0])
    items.sort(key=lambda item: -allowed[item.path])


def note_deselected(config: pytest.Config, line: str) -> None:
    """Add a line to the summary; a worker of pytest-xdist sends its lines to the main process."""
    line = "\n".join(filter(None, (config.stash.get(DESELECTED, None), line)))
    config.stash[DESELECTED] = line
    if hasattr(config, "workeroutput"):
        config.workeroutput["deselected"] = line  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Receive a worker's line for the summary."""
    if line := getattr(node, "workeroutput", {}).get("deselected"):
        node.config.stash[DESELECTED] = line


def no_gpu() -> str | None:
    """Return why GPU tests cannot run here, or None."""
    import torch  # here: test runs without GPU tests need no torch

    if not torch.cuda.is_available():
        return "there is no CUDA device"
    return "kernels are interpreted; make test-gpu runs them" if os.environ["TRITON_INTERPRET"] == "1" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print which tests were deselected."""
    if line := config.stash.get(DESELECTED, None):
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
    """The tiny MusicGen as staged: with its manifest, without code; read only."""
    folder = tmp_path_factory.mktemp("staged") / "model"
    link_staged(tiny_musicgen, folder, "facebook/musicgen-small")
    return folder


@pytest.fixture(scope="session")
def tiny_stereo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a tiny stereo MusicGen in the Hub's layout, in float16; read only."""
    from local_aws.hub.tiny_model import make_tiny_musicgen

    folder = tmp_path_factory.mktemp("tiny-stereo")
    make_tiny_musicgen(folder, stereo=True)
    return folder


@pytest.fixture(scope="session")
def staged_stereo(tiny_stereo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny stereo MusicGen as staged: with its manifest, without code; read only."""
    folder = tmp_path_factory.mktemp("staged-stereo") / "model"
    link_staged(tiny_stereo, folder, "facebook/musicgen-stereo-small")
    return folder


def link_staged(published: Path, folder: Path, model_id: str) -> None:
    """Link a published model's files into a new folder, and write a manifest."""
    from local_aws.hub.tiny_model import write_manifest

    folder.mkdir()
    for file in published.iterdir():
        (folder / file.name).symlink_to(file)
    write_manifest(folder, model_id, revision=REVISION, decoder_dtype="float16")
