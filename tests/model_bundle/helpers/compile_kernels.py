"""Compile every kernel that a server with a published model launches, without a GPU.

    TRITON_INTERPRET=0 python -m tests.model_bundle.helpers.compile_kernels 80 90

prints a line of JSON for each: architecture, name, constants, registers, spilled bytes, shared memory and counts of
prefetches and asynchronous loads. Steps run on torch's meta device through Triton's own launcher, up to the launch, so
that exactly what a server compiles is compiled.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportAttributeAccessIssue=false

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from musicgen_serving.engine.kernels.kernel_step import KernelStep
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.step.slots import allocate, batch_view
from tests.model_bundle.helpers.random_weights import eight_bit, random_weights

SMALL = DecoderConfig(
    layers=1, hidden=1024, heads=16, ffn=4096, vocabulary=2048, codebooks=4, channels=1, pad_token=2048
)
SIZES = (SMALL, replace(SMALL, hidden=1536, heads=24, ffn=6144), replace(SMALL, hidden=2048, heads=32, ffn=8192))
SLOTS = (1, 8, 16, 32)
POSITIONS, TEXT = 1503, 512
TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"


@dataclass(frozen=True)
class FakeDriver:
    """The part of a driver that Triton needs before it launches."""

    arch: int

    def get_current_device(self) -> int:
        return self.arch

    def get_current_stream(self, device: int) -> int:
        del device
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)


def compile_all(arch: int) -> dict[str, tuple[str, Any]]:
    """Compile for all sizes, slot counts and weight formats; return (name, kernel) by Triton's hash."""
    found: dict[str, tuple[str, Any]] = {}
    launch: Any = JITFunction.run

    def compile_only(function: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        del warmup
        kernel = launch(function, *args, grid=grid, warmup=True, **options)
        found.setdefault(kernel.hash, (function.fn.__name__, kernel))
        return kernel

    triton.runtime.driver.set_active(cast("Any", FakeDriver(arch)))
    JITFunction.run = compile_only
    try:
        for config in SIZES:
            for slots in SLOTS:
                step(config, slots)
    finally:
        JITFunction.run = launch
    return found


def step(config: DecoderConfig, slots: int) -> None:
    """Launch a step with each weight format, without and with a negative prompt."""
    meta = torch.device("meta")
    with torch.device("meta"):
        plain = random_weights(config, POSITIONS, torch.float16)
    empty = allocate(config, slots, POSITIONS, TEXT, meta, torch.float16)
    for weights in (plain, eight_bit(plain)):
        kernels = KernelStep(config, weights, POSITIONS)
        for text_rows in (1, 2):
            view = batch_view(empty, 0, slots, POSITIONS, TEXT, text_rows)
            kernels(view, max_top_k=2048, use_top_p=True)


def report(name: str, kernel: Any) -> dict[str, Any]:
    """Return the compiler's figures for a kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [TOOLS / "cuobjdump", "--dump-resource-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    found = dict(re.findall(r"(REG|STACK):(\d+)", usage))
    return {
        "name": name, "registers": int(found["REG"]), "spilled": int(found["STACK"]),
        "shared": kernel.metadata.shared, "warps": kernel.metadata.num_warps,
        "constants": {key: value for key, value in kernel.src.constants.items() if value is not None},
        "prefetches": kernel.asm["ptx"].count("prefetch.global.L2"),
        "loads_ahead": kernel.asm["ptx"].count("cp.async.cg.shared.global"),
        "wide_loads": kernel.asm["ptx"].count("ld.global.v4") + kernel.asm["ptx"].count("v4.b32"),
    }  # fmt: skip


if __name__ == "__main__":
    for arch in map(int, sys.argv[1:]):
        for found in compile_all(arch).values():
            print(json.dumps({"arch": arch, **report(*found)}))
