"""One embedded AWS with a running endpoint, and the clients' environments that `make test-clients` creates."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.emulator.process import LocalAws
from tests.clients.helpers.deployed import Deployed, deploy
from tests.conftest import note_deselected

ENVIRONMENTS = Path(__file__).parents[2] / ".venv-clients"
SCRIPTS = Path(__file__).parent / "scripts"
_TIMEOUT = 500.0  # seconds; version 2 deploys an endpoint and updates it


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect these tests, and say so, unless `make test-clients` asks for them."""
    mine = [item for item in items if Path(item.path).parent == Path(__file__).parent]
    if mine and os.environ.get("TEST_CLIENTS") != "1":
        note_deselected(config, f"{len(mine)} tests of real clients are deselected: make test-clients runs them")
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A running endpoint; alarms and scaling run 60 times faster."""
    with LocalAws(tmp_path_factory.mktemp("aws"), clock_factor=60.0) as aws:
        yield deploy(aws)


@pytest.fixture(scope="session")
def run_client(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """`run_client(environment, script, *words, **variables)`: what the script printed, as JSON."""

    def run(environment: str, script: str, *words: str, **variables: str) -> dict[str, Any]:
        python = ENVIRONMENTS / environment / "bin" / "python"
        assert python.exists(), f"{python} must exist: make test-clients creates it"
        inherited = deployed.aws.environment()
        inherited.pop("PYTHONPATH", None)  # the client's own packages only
        done = subprocess.run(
            [str(python), str(SCRIPTS / script), *words],
            env={**inherited, "SAGEMAKER_SUPPRESS_V2_WARNING": "1", **variables},
            cwd=tmp_path_factory.mktemp("client"),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"{script} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        last = done.stdout.splitlines()[-1]
        return json.loads(last[last.index("{") :])  # the SDKs print progress without a line's end

    return run
