"""Tests that need a GPU are named where they are left out, by several processes too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
GPU = "tests/model_bundle/engine/test_gpu.py"
ENDS_WITHOUT_A_TEST = 5  # pytest's exit code


def test_what_only_a_gpu_can_show_is_named_as_left_out() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", GPU]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert run.returncode == ENDS_WITHOUT_A_TEST, run.stdout + run.stderr
    assert re.search(r"\d+ tests marked gpu are deselected: ", run.stdout)
