"""Test that every kernel compiles for AWS's GPU types at the published models' sizes and fits their shared memory."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

SHARED_KIB = {80: 163, 86: 99, 89: 99, 90: 227}
"""Shared memory per program on A100, A10G, L4 and L40S, H100 (CUDA C++ programming guide, table 21)."""
ARCHITECTURES_BY_PROCESS = ((80, 86), (89, 90))


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return a report of each kernel, compiled in other processes because Triton interprets in this one."""
    folders = [tmp_path_factory.mktemp("triton") for _ in ARCHITECTURES_BY_PROCESS]
    with ThreadPoolExecutor() as pool:
        return [kernel for part in pool.map(compile_kernels, ARCHITECTURES_BY_PROCESS, folders) for kernel in part]


def compile_kernels(archs: tuple[int, ...], cache: Path) -> list[dict[str, Any]]:
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache), "PYTHONPATH": path}
    command = [sys.executable, "-m", "tests.model_bundle.helpers.compile_kernels", *map(str, archs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("arch", SHARED_KIB)
def test_all_kernels_fit_the_gpu_and_pipeline_their_loads(arch: int, kernels: list[dict[str, Any]]) -> None:
    here = [kernel for kernel in kernels if kernel["arch"] == arch]
    assert {kernel["name"] for kernel in here} == {
        "embed_kernel", "linear_kernel", "residual_kernel", "attention_kernel", "cross_attention_kernel",
        "sample_kernel",
    }  # fmt: skip
    for kernel in here:
        assert kernel["spilled"] == 0, kernel
        assert kernel["shared"] <= SHARED_KIB[arch] * 1024, kernel
        if kernel["name"] in ("linear_kernel", "residual_kernel"):
            assert kernel["loads_ahead"] > 0, kernel  # weights are loaded some stages before they are multiplied
            assert kernel["prefetches"] > 0, kernel  # of the next launch's weights
        if kernel["name"] == "attention_kernel":
            assert kernel["wide_loads"] >= 8, kernel  # keys and values are loaded 16 bytes per thread
