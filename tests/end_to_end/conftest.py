"""One run of what `make local` runs, kept up for a while and used by a notebook and by the sample's own request."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.end_to_end.helpers.walkthrough_process import (
    DEPLOYED_WITHIN,
    ENDED_WITHIN,
    PROJECT,
    WalkthroughProcess,
    WholeRun,
    in_its_shell,
)


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    """Deploy, keep, use, interrupt, destroy: once for all tests that look at it."""
    folder = tmp_path_factory.mktemp("walkthrough")
    walkthrough = WalkthroughProcess(folder / "run", "--keep", "--duration", "1")
    try:
        walkthrough.wait_for("running, until Ctrl-C", DEPLOYED_WITHIN)
        executed = folder / "executed.ipynb"
        notebook = in_its_shell(
            walkthrough.state,
            f"jupyter execute --output={executed} {PROJECT / 'examples' / 'musicgen.ipynb'}",
        )
        sample = in_its_shell(walkthrough.state, f"{sys.executable} {Path(__file__).parent / 'sample_client.py'}")
        walkthrough.interrupt()
    except BaseException:
        walkthrough.interrupt()
        walkthrough.finish(ENDED_WITHIN)
        raise
    finished = walkthrough.finish(ENDED_WITHIN)
    return WholeRun(
        walkthrough.state,
        finished,
        notebook,
        executed.read_text() if executed.exists() else "",
        sample,
        walkthrough.left_behind(),
    )
