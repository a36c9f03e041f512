"""One `make local` run, kept up while a notebook and the published sample's client use it."""

import sys
from pathlib import Path

import pytest

from tests.end_to_end.helpers.walkthrough_process import (
    DEPLOY_TIMEOUT,
    PROJECT,
    STOP_TIMEOUT,
    MakeLocalRun,
    WalkthroughProcess,
    run_in_shell,
)


@pytest.fixture(scope="session")
def make_local_run(tmp_path_factory: pytest.TempPathFactory) -> MakeLocalRun:
    """Deploy, keep running, use, interrupt and destroy; once for all tests."""
    folder = tmp_path_factory.mktemp("walkthrough")
    walkthrough = WalkthroughProcess(folder / "run", "--keep", "--duration", "2")  # of fast notes, 16
    try:
        walkthrough.wait_for("running until Ctrl-C", DEPLOY_TIMEOUT)
        executed = folder / "executed.ipynb"
        notebook = run_in_shell(
            walkthrough.state,
            f"env MUSICGEN_STATE={folder / 'journals'} "
            f"jupyter execute --output={executed} {PROJECT / 'examples' / 'musicgen.ipynb'}",
        )
        sample = run_in_shell(walkthrough.state, f"{sys.executable} {Path(__file__).parent / 'sample_client.py'}")
        own = run_in_shell(walkthrough.state, f"{sys.executable} {Path(__file__).parent / 'own_resources.py'}")
        assert own.code == 0, own.output
        walkthrough.interrupt()
    except BaseException:
        walkthrough.interrupt()
        walkthrough.finish(STOP_TIMEOUT)
        raise
    finished = walkthrough.finish(STOP_TIMEOUT)
    return MakeLocalRun(
        walkthrough.state,
        finished,
        notebook,
        executed.read_text() if executed.exists() else "",
        sample,
        walkthrough.leftover_processes(),
    )
