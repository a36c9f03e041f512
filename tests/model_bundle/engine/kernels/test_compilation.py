"""Test that every kernel compiles for AWS's GPU types at the published models' sizes and fits their shared memory.

Tuning's candidates too: in the tests each number of features and warps of a feed-forward part's products, and with
EVERY_TILE=1 (`make test-tiles`, each night) all products and each number of stages.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
import triton

SHARED_KIB = {80: 163, 86: 99, 89: 99, 90: 227}
"""Shared memory per program on A100, A10G, L4 and L40S, H100 (CUDA C++ programming guide, table 21)."""
SM_KIB, RESERVED = {80: 164, 86: 100, 89: 100, 90: 228}, 1024
"""Shared memory of a multiprocessor, of which CUDA takes 1 KiB for each program (same table)."""
BUNDLE, HELPERS = Path(__file__).parents[4] / "model_bundle/code", Path(__file__).parents[2] / "helpers"
pytestmark = pytest.mark.timeout(1800)  # compiling takes about 100 CPU-seconds
PRODUCTS = ("linear_kernel", "residual_kernel")
NAMES = {*PRODUCTS, "embed_kernel", "attention_kernel", "cross_attention_kernel", "sample_kernel"}


@pytest.fixture(scope="module")
def lines(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the reports, of an earlier run if nothing that they depend on has changed."""
    cache: Any = pytestconfig.cache
    sources = sources_digest()
    found: dict[str, Any] = cache.get("compiled-kernels", {})
    if found.get("sources") != sources:
        found = {"sources": sources, "lines": compile_kernels(tmp_path_factory.mktemp("triton"))}
        cache.set("compiled-kernels", found)
    return found["lines"]


def sources_digest() -> str:
    """Return a hash of the compiler's versions, its options, and all code of the bundle and of the tests' helpers."""
    files = [*BUNDLE.rglob("*.py"), *HELPERS.rglob("*.py")]
    digest = hashlib.sha256(repr([torch.__version__, triton.__version__, os.environ.get("EVERY_TILE")]).encode())
    for file in sorted(files):
        digest.update(f"{file}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def compile_kernels(cache: Path) -> list[dict[str, Any]]:
    """Return the reports, from another process because Triton interprets in this one."""
    environment = {
        **os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.model_bundle.helpers.compile_kernels"]
    command += ["--every-tile"] if os.environ.get("EVERY_TILE") else []
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def kernels(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a report of each kernel."""
    return [line for line in lines if "same_code" not in line]


def chosen_on(arch: int, kernel: dict[str, Any]) -> bool:
    """Return whether an architecture may run a kernel: tuning leaves out tiles that take too much shared memory."""
    if kernel["default"] or kernel["name"] not in PRODUCTS:
        return True
    constants, item = kernel["constants"], 1 if kernel["signature"]["weight"] == "*i8" else 2
    loads = constants["BK"] * (2 * constants["ROWS"] + item * constants["BN"])
    return (kernel["stages"] - 1) * loads <= SM_KIB[arch] * 1024 // 2 - RESERVED


@pytest.mark.parametrize("arch", SHARED_KIB)
def test_all_kernels_fit_the_gpu_and_pipeline_their_loads(arch: int, kernels: list[dict[str, Any]]) -> None:
    here = [kernel for kernel in kernels if chosen_on(arch, kernel)]
    assert {kernel["name"] for kernel in here if kernel["default"]} == NAMES
    for kernel in here:
        assert kernel["usage"][str(arch)]["spilled"] == 0, kernel
        assert kernel["shared"] <= SHARED_KIB[arch] * 1024, kernel
        if kernel["name"] in PRODUCTS:
            assert kernel["loads_ahead"] > 0, kernel  # weights are loaded some stages before they are multiplied
            assert kernel["prefetches"] > 0, kernel  # of the next launch's weights
            assert 2 * (kernel["shared"] + RESERVED) <= SM_KIB[arch] * 1024, kernel  # two programs to a multiprocessor
            if kernel["default"] and kernel["constants"]["ROWS"] == 16:  # up to eight clips: in a single wave
                assert 4 * (kernel["shared"] + RESERVED) <= SM_KIB[arch] * 1024, kernel
        if kernel["name"] == "attention_kernel":
            assert kernel["wide_loads"] >= 8, kernel  # keys and values are loaded 16 bytes per thread


@pytest.mark.parametrize("arch", SHARED_KIB)
def test_registers_and_threads_leave_room_for_two_products(arch: int, kernels: list[dict[str, Any]]) -> None:
    """A multiprocessor has 65,536 registers, given out to warps in units of 256 (same table)."""
    for kernel in kernels:
        if kernel["name"] in PRODUCTS:
            registers = -(-kernel["usage"][str(arch)]["registers"] * 32 // 256) * 256 * kernel["warps"]
            assert 2 * registers <= 65_536, kernel


def test_candidates_of_tuning_are_among_the_compiled(kernels: list[dict[str, Any]]) -> None:
    """Each shape of the products with more outputs than inputs; of the others only stages vary."""
    shapes: dict[bool, set[tuple[int, int, int]]] = {True: set(), False: set()}
    stages: dict[tuple[str, int], set[int]] = defaultdict(set)
    for kernel in kernels:
        if kernel["name"] in PRODUCTS:
            constants = kernel["constants"]
            stages[kernel["name"], constants["ROWS"]].add(kernel["stages"])
            if constants["SPLITS"] == 1:
                eight_bit = kernel["signature"]["weight"] == "*i8"
                shapes[eight_bit].add((constants["ROWS"], constants["BN"], kernel["warps"]))
    wide = {(rows, features, warps) for rows in (32, 64) for features in (32, 64) for warps in (4, 8)}
    assert shapes[False] == {(16, 32, 4), (16, 64, 4), *wide}
    assert shapes[True] == shapes[False] - {(64, 64, 8)}  # too many registers
    assert len(stages) == 6 and all(len(found) > 1 for found in stages.values()), stages


@pytest.mark.parametrize("arch", [86, 89, 90])
def test_triton_compiles_the_same_code_for_every_architecture(arch: int, lines: list[dict[str, Any]]) -> None:
    """All but the target's name, so the other tests may take one architecture's code for all."""
    same = {line["name"]: line["same_code"] for line in lines if line.get("arch") == arch}
    assert same == dict.fromkeys(NAMES, True)


def test_compiled_products_are_ordered_the_same_for_any_number_of_rows(kernels: list[dict[str, Any]]) -> None:
    """Tensor cores sum along K; all other sums follow Triton's layout, which could depend on the number of rows."""
    sums: dict[tuple[str, bool, bool], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for kernel in kernels:
        if kernel["name"] in PRODUCTS:
            assert kernel["wgmma"] == 0 and kernel["mma"] > 0, kernel
            assert kernel["fused"] == 0, kernel
            eight_bit, constants = kernel["signature"]["weight"] == "*i8", kernel["constants"]
            place = (kernel["name"], eight_bit, constants.get("GELU", False))
            sums[place][constants["ROWS"]].add("; ".join(kernel["sums"]))
    assert len(sums) == 6 and all(set(by_rows) >= {16, 64} for by_rows in sums.values())
    for place, by_rows in sums.items():
        assert len({one for found in by_rows.values() for one in found}) == 1, (place, dict(by_rows))


def test_attention_and_sampling_are_one_program_for_any_number_of_clips(kernels: list[dict[str, Any]]) -> None:
    for name in NAMES.difference(PRODUCTS):
        found = [kernel["constants"] for kernel in kernels if kernel["name"] == name and not kernel["melody"]]
        assert found and not any(found.count(one) > 1 for one in found), found
        assert len(found) <= 3, found  # models


def test_melody_models_run_the_products_of_the_others_and_attention_over_more_spans(
    kernels: list[dict[str, Any]],
) -> None:
    """Their prefix makes sequences of up to 2,250 positions; tokens then have a stride that is no multiple of 16."""
    theirs = {kernel["name"]: kernel for kernel in kernels if kernel["melody"]}
    assert len(theirs) == sum(kernel["melody"] for kernel in kernels)
    assert theirs.keys() == {"embed_kernel", "attention_kernel", "sample_kernel"}
    for name, kernel in theirs.items():
        (other,) = (one for one in kernels if one["name"] == name and not one["melody"])
        spans = {"SPLITS": 16} if name == "attention_kernel" else {}
        assert kernel["constants"] == other["constants"] | spans
        assert kernel["shared"] == other["shared"]
