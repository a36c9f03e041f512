"""One `make local` run, kept up while a notebook and the published sample's client use it."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.end_to_end.helpers.walkthrough_process import (
    DEPLOY_TIMEOUT,
    PROJECT,
    STOP_TIMEOUT,
    FreshShell,
    MakeLocalRun,
    WalkthroughProcess,
    printed_commands,
    readme_commands,
    run_in_shell,
    tool_environment,
)


@pytest.fixture(scope="session")
def make_local_run(tmp_path_factory: pytest.TempPathFactory) -> MakeLocalRun:
    """Deploy, keep running, use, interrupt and destroy; once for all tests."""
    folder = tmp_path_factory.mktemp("walkthrough")
    shell, readers = FreshShell(folder / "home"), FreshShell(folder / "reader")
    environment = tool_environment()
    environment["PATH"] = f"{shell.home / 'player'}:{environment['PATH']}"  # so that it suggests to play the clip
    words = ["--keep", "--duration", "2"]  # of fast notes, 16
    walkthrough = WalkthroughProcess(folder / "run", *words, environment=environment)
    try:
        walkthrough.wait_for("running until Ctrl-C", DEPLOY_TIMEOUT)
        executed = folder / "executed.ipynb"
        execute = f"jupyter execute --output={executed} {PROJECT / 'examples' / 'musicgen.ipynb'}"
        source, *commands = printed_commands(walkthrough.log.read_text())
        rehearsal = [line for line in readme_commands() if line.startswith("musicgen ")]
        # It has woken from zero before, and would again for every cell of the notebook: 25 s each.
        kept = run_in_shell(walkthrough.state, f"{sys.executable} {Path(__file__).parent / 'keep_instance.py'}")
        assert kept.code == 0, kept.output
        # At once, as four users would.
        with ThreadPoolExecutor() as users:
            reading = users.submit(
                run_in_shell, walkthrough.state, f"env MUSICGEN_STATE={folder / 'journals'} {execute}"
            )
            sampling = users.submit(
                run_in_shell, walkthrough.state, f"{sys.executable} {Path(__file__).parent / 'sample_client.py'}"
            )
            following = users.submit(lambda: {command: shell.run(source, command) for command in commands})
            rehearsing = users.submit(lambda: {line: readers.run(source, line) for line in rehearsal})
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
        reading.result(),
        executed.read_text() if executed.exists() else "",
        sampling.result(),
        following.result(),
        rehearsing.result(),
        walkthrough.leftover_processes(),
    )
