"""What Chromium saw of the page: a visit for each module of tests."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from musicgen_client import Excerpt, Request
from musicgen_client.history import History
from musicgen_client.journal import PLANNED, RESULT, Journal
from tests.client.helpers.fake_aws import wav
from tests.conftest import note_deselected
from tests.ui.helpers.process import PROJECT, PYTHON, STACK, environment, fake_page

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
        return drive("drive", address)


@pytest.fixture(scope="session")
def parts_visit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """As `visit`, for the parts that are folded in; `sent` has the requests in order.

    The history has a job at first whose audio is not in the journal, and with fields that the page lacks.
    """
    folder = tmp_path_factory.mktemp("page")
    history = History(STACK, folder / "state")
    early = Request(texts=("early",), melody=Excerpt(base64="UklG", start=2), return_tokens=True, format="flac", seed=1)
    body = json.loads(early.body())
    del body["melody"]["audio"]["base64"]
    with Journal(history.new("mearly")) as journal:
        journal.append(PLANNED, "mearly", at=1.0, request=body)
        journal.append(RESULT, "mearly", status="failed", error="out of luck")
    (folder / "hummed.wav").write_bytes(wav(2, 1))
    with fake_page(FAKE_STATE=str(folder / "state"), FAKE_SECONDS="1") as address:
        seen = drive("drive_parts", address, str(folder / "hummed.wav"))
        records = sorted((record for _, record in history.records()), key=lambda record: record.planned_at)
    return {**seen, "sent": [record.request for record in records[1:]]}


def drive(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script with Selenium, and return what it saw."""
    done = subprocess.run(
        [str(PYTHON), "-m", f"tests.ui.scripts.{script}", *arguments],
        env=environment(), cwd=PROJECT, capture_output=True, text=True, timeout=_TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])
