"""What Chromium saw of the page: one visit for all tests."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import note_deselected
from tests.ui.helpers.process import PROJECT, PYTHON, environment, fake_page

_TIMEOUT = 400.0  # seconds; about forty on idle cores


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect these tests, and say so, unless `make test-ui` asks for them."""
    mine = [item for item in items if Path(item.path).parent == Path(__file__).parent]
    if mine and os.environ.get("TEST_UI") != "1":
        note_deselected(config, f"{len(mine)} tests of the page in Chromium are deselected: make test-ui runs them")
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]


@pytest.fixture(scope="session")
def visit() -> dict[str, Any]:
    """Start the page, use it in Chromium, end it by Ctrl-C; return what the browser saw."""
    with fake_page() as address:
        done = subprocess.run(
            [str(PYTHON), "-m", "tests.ui.scripts.drive", address],
            env=environment(), cwd=PROJECT, capture_output=True, text=True, timeout=_TIMEOUT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])
