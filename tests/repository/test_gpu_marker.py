"""Tests that need a GPU are named where they are left out, in one process and in several."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
GPU = "tests/model_bundle/engine/test_gpu.py"
ENDS_WITHOUT_A_TEST = 5  # pytest's exit code


@pytest.mark.parametrize("processes", [[], ["-n", "2"]])
def test_what_only_a_gpu_can_show_is_named_as_left_out(processes: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *processes, GPU]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert run.returncode == ENDS_WITHOUT_A_TEST, run.stdout + run.stderr
    assert "11 tests marked gpu are deselected:" in run.stdout
