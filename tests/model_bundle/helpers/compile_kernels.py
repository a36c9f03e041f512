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
from musicgen_serving.engine.kernels.tiles import Key, Tile, TileTable, tile_key
from musicgen_serving.engine.kernels.tuning import candidates
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.step.slots import allocate, batch_view
from tests.model_bundle.helpers.random_weights import eight_bit, random_weights

SMALL = DecoderConfig(
    layers=1, hidden=1024, heads=16, ffn=4096, vocabulary=2048, codebooks=4, channels=1, pad_token=2048
)
SIZES = (SMALL, replace(SMALL, hidden=1536, heads=24, ffn=6144), replace(SMALL, hidden=2048, heads=32, ffn=8192))
SLOTS = (1, 8, 16, 32)
POSITIONS, TEXT = 1503, 512
SMALLEST_SHARED = 100 * 1024  # bytes of a multiprocessor of an A10G, L4 or L40S
TUNED, CHOICES = (86, 90), 5  # there the largest model is compiled with every shape of tile that tuning may choose
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


def compile_all(arch: int) -> dict[str, tuple[str, Any, bool]]:
    """Compile for all sizes, slot counts and weight formats; return (name, kernel, default tile) by Triton's hash."""
    found: dict[str, tuple[str, Any, bool]] = {}
    choice = 0
    launch: Any = JITFunction.run

    def compile_only(function: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        del warmup
        kernel = launch(function, *args, grid=grid, warmup=True, **options)
        found.setdefault(kernel.hash, (function.fn.__name__, kernel, choice == 0))
        return kernel

    triton.runtime.driver.set_active(cast("Any", FakeDriver(arch)))
    JITFunction.run = compile_only
    try:
        for config in SIZES:
            for slots in SLOTS:
                for choice in range(CHOICES if config is SIZES[-1] and arch in TUNED else 1):
                    step(config, slots, choice)
    finally:
        JITFunction.run = launch
    return found


def step(config: DecoderConfig, slots: int, choice: int = 0) -> None:
    """Launch a step with each weight format, without and with a negative prompt.

    In the default tiles, or in each product's candidate number `choice`.
    """
    meta = torch.device("meta")
    with torch.device("meta"):
        plain = random_weights(config, POSITIONS, torch.float16)
    empty = allocate(config, slots, POSITIONS, TEXT, meta, torch.float16)
    for weights in (plain, eight_bit(plain)):
        layer = weights.layers[0]
        matrices = (layer.qkv, layer.self_out, layer.ffn_in, layer.ffn_out, weights.heads)
        keys = [tile_key(rows, matrix) for rows in (slots, 2 * slots) for matrix in matrices]
        table = TileTable({key: distinct(key)[min(choice, len(distinct(key)) - 1)] for key in keys})
        kernels = KernelStep(config, weights, POSITIONS, table)
        for text_rows in (1, 2):
            view = batch_view(empty, 0, slots, POSITIONS, TEXT, text_rows)
            kernels(view, max_top_k=2048, use_top_p=True)


def distinct(key: Key) -> list[Tile]:
    """Return the candidates of tuning that differ in more than stages, which change no layout; the default first."""
    by_shape: dict[tuple[int, int], Tile] = {}
    for tile in candidates(key, SMALLEST_SHARED):
        by_shape.setdefault((tile.features, tile.warps), tile)
    return list(by_shape.values())


def report(name: str, kernel: Any, default: bool) -> dict[str, Any]:
    """Return the compiler's figures for a kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [TOOLS / "cuobjdump", "--dump-resource-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    found = dict(re.findall(r"(REG|STACK):(\d+)", usage))
    return {
        "name": name, "default": default, "registers": int(found["REG"]), "spilled": int(found["STACK"]),
        "shared": kernel.metadata.shared, "warps": kernel.metadata.num_warps,
        "constants": {key: value for key, value in kernel.src.constants.items() if value is not None},
        "prefetches": kernel.asm["ptx"].count("prefetch.global.L2"),
        "loads_ahead": kernel.asm["ptx"].count("cp.async.cg.shared.global"),
        "wide_loads": kernel.asm["ptx"].count("ld.global.v4") + kernel.asm["ptx"].count("v4.b32"),
        "signature": kernel.src.signature, "wgmma": kernel.asm["ptx"].count("wgmma.mma_async"),
        "mma": kernel.asm["ptx"].count("mma.sync"),
        "fused": kernel.asm["ptx"].count("fma.rn.f32"), "sums": sums(kernel.asm["ttgir"]),
    }  # fmt: skip


def sums(ttgir: str) -> list[str]:
    """Return how elements of each sum over columns are spread: by register, lane and warp, which fixes its order."""
    layouts = dict(re.findall(r"^(#\w+) = (.*)$", ttgir, re.MULTILINE))
    found: list[str] = []
    for shape, name in re.findall(r"\}\) : \(tensor<(\w+), (#\w+)>\) -> ", ttgir):
        layout = layouts[name]
        along = re.findall(r"(sizePerThread|threadsPerWarp|warpsPerCTA|instrShape) = \[\d+, (\d+)\]", layout)
        kind = "mma" if "mma" in layout else "blocked"
        found.append(f"{shape.split('x')[-2]} columns, {kind}, {', '.join(f'{key} {count}' for key, count in along)}")
    return found


if __name__ == "__main__":
    for arch in map(int, sys.argv[1:]):
        for found in compile_all(arch).values():
            print(json.dumps({"arch": arch, **report(*found)}))
