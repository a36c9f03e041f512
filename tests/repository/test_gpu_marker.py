"""Deselected tests are listed in the summary, also with several worker processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
NO_TESTS_COLLECTED = 5  # pytest's exit code


def test_deselected_gpu_tests_are_listed(tmp_path: Path) -> None:
    # A file of its own: what the engine's GPU tests import takes seconds in each of the three processes.
    file = tmp_path / "test_two.py"
    file.write_text("import pytest\n\n\n@pytest.mark.gpu\n@pytest.mark.parametrize('n', [1, 2])\ndef test(n): ...\n")
    own = ["-c", "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *own, "-n", "2", str(file)]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert run.returncode == NO_TESTS_COLLECTED, run.stdout + run.stderr
    assert "2 tests marked gpu are deselected: " in run.stdout


def test_every_folder_whose_tests_are_deselected_is_listed() -> None:
    folders = ["tests/clients", "tests/ui"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", *folders]
    environment = {name: value for name, value in os.environ.items() if name not in ("TEST_CLIENTS", "TEST_UI")}
    run = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == NO_TESTS_COLLECTED, run.stdout + run.stderr
    for target in ("make test-clients", "make test-ui"):
        assert re.search(rf"\d+ tests of .* are deselected: {target} runs them", run.stdout), run.stdout
