"""Deselected tests are listed in the summary, also with several worker processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
GPU = "tests/model_bundle/engine/test_gpu.py"
NO_TESTS_COLLECTED = 5  # pytest's exit code


def test_deselected_gpu_tests_are_listed() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", GPU]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert run.returncode == NO_TESTS_COLLECTED, run.stdout + run.stderr
    assert re.search(r"\d+ tests marked gpu are deselected: ", run.stdout)


def test_every_folder_whose_tests_are_deselected_is_listed() -> None:
    folders = ["tests/clients", "tests/ui"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", *folders]
    environment = {name: value for name, value in os.environ.items() if name not in ("TEST_CLIENTS", "TEST_UI")}
    run = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == NO_TESTS_COLLECTED, run.stdout + run.stderr
    for target in ("make test-clients", "make test-ui"):
        assert re.search(rf"\d+ tests of .* are deselected: {target} runs them", run.stdout), run.stdout
