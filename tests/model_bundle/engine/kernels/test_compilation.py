"""Test that every kernel compiles for AWS's GPU types at the published models' sizes and fits their shared memory."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

SHARED_KIB = {80: 163, 86: 99, 89: 99, 90: 227}
"""Shared memory per program on A100, A10G, L4 and L40S, H100 (CUDA C++ programming guide, table 21)."""
SM_KIB, RESERVED = {80: 164, 86: 100, 89: 100, 90: 228}, 1024
"""Shared memory of a multiprocessor, of which CUDA takes 1 KiB for each program (same table)."""
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
        assert kernel["spilled"] == 0 or not kernel["default"], kernel  # tuning excludes others that spill
        assert kernel["shared"] <= SHARED_KIB[arch] * 1024, kernel
        if kernel["name"] in ("linear_kernel", "residual_kernel"):
            assert kernel["loads_ahead"] > 0, kernel  # weights are loaded some stages before they are multiplied
            assert kernel["prefetches"] > 0, kernel  # of the next launch's weights
            assert 2 * (kernel["shared"] + RESERVED) <= SM_KIB[arch] * 1024, kernel  # two programs to a multiprocessor
            if kernel["default"] and kernel["constants"]["ROWS"] == 16:  # up to eight clips: in a single wave
                assert 4 * (kernel["shared"] + RESERVED) <= SM_KIB[arch] * 1024, kernel
        if kernel["name"] == "attention_kernel":
            assert kernel["wide_loads"] >= 8, kernel  # keys and values are loaded 16 bytes per thread


@pytest.mark.parametrize("arch", SHARED_KIB)
def test_compiled_products_are_ordered_the_same_for_any_number_of_rows(
    arch: int, kernels: list[dict[str, Any]]
) -> None:
    """Tensor cores sum along K; all other sums follow Triton's layout, which could depend on the number of rows."""
    sums: dict[tuple[str, bool, bool], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for kernel in kernels:
        if kernel["arch"] == arch and kernel["name"] in ("linear_kernel", "residual_kernel"):
            assert kernel["wgmma"] == 0 and kernel["mma"] > 0, kernel
            assert kernel["fused"] == 0, kernel
            eight_bit, constants = kernel["signature"]["weight"] == "*i8", kernel["constants"]
            place = (kernel["name"], eight_bit, constants.get("GELU", False))
            sums[place][constants["ROWS"]].add("; ".join(kernel["sums"]))
    assert len(sums) == 6 and all(set(by_rows) >= {16, 64} for by_rows in sums.values())
    for place, by_rows in sums.items():
        assert len({one for found in by_rows.values() for one in found}) == 1, (place, dict(by_rows))


@pytest.mark.parametrize("arch", SHARED_KIB)
def test_attention_and_sampling_are_one_program_for_any_number_of_clips(
    arch: int, kernels: list[dict[str, Any]]
) -> None:
    for name in ("attention_kernel", "cross_attention_kernel", "sample_kernel", "embed_kernel"):
        found = [kernel["constants"] for kernel in kernels if (kernel["arch"], kernel["name"]) == (arch, name)]
        assert found and not any(found.count(one) > 1 for one in found), found
        assert len(found) <= 3, found  # models
