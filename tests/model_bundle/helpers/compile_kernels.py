"""Compile every kernel that a server with a published model launches, without a GPU.

    TRITON_INTERPRET=0 python -m tests.model_bundle.helpers.compile_kernels [--every-tile]

prints a line of JSON for each: name, constants, shared memory, counts of prefetches and asynchronous loads, and for
each architecture registers and spilled bytes. Steps run on torch's meta device through Triton's own launcher, up to the
launch, so that exactly what a server compiles is compiled. Triton does so once, which takes most of the time, because
its PTX is the same for all architectures but for the target's name; NVIDIA's assembler then translates it for each.
Lines with `same_code` say of one kernel of each name whether Triton's code for another architecture is the same.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportAttributeAccessIssue=false

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
import triton
from triton.backends import backends
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from musicgen_serving.engine.kernels.kernel_step import KernelStep
from musicgen_serving.engine.kernels.tiles import Key, Tile, TileTable, default_tile, tile_key
from musicgen_serving.engine.kernels.tuning import candidates
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.memory import clip_sizes
from musicgen_serving.engine.model.weights import DecoderWeights
from musicgen_serving.engine.sampling_params import MAX_NEW_TOKENS, MAX_TEXT_TOKENS
from musicgen_serving.engine.step.slots import allocate, batch_view
from tests.model_bundle.helpers.random_weights import eight_bit, random_weights

SMALL = DecoderConfig(
    layers=1, hidden=1024, heads=16, ffn=4096, vocabulary=2048, codebooks=4, channels=1, pad_token=2048
)
SIZES = (SMALL, replace(SMALL, hidden=1536, heads=24, ffn=6144), replace(SMALL, hidden=2048, heads=32, ffn=8192))
LARGE = SIZES[-1]
MEDIUM = SIZES[1]  # no other product of it has the shape of one of its feed-forward part
MELODY = tuple(replace(size, chroma_frames=235, chroma_bins=12) for size in SIZES[1:])
SLOTS = (1, 8, 16, 32)
LEAST_SHARED, MOST_SHARED = 100 * 1024, 228 * 1024  # bytes of a multiprocessor: A10G, L4 or L40S; H100
TARGETS = {80: "sm_80", 86: "sm_86", 89: "sm_89", 90: "sm_90a"}
"""What Triton calls the architectures of A100, A10G, L4 and L40S, and H100 in PTX."""
FIRST, *OTHERS = TARGETS
PTXAS = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
Choices = Callable[[Key], list[Tile]]
"""Return the tiles of a product in which it is compiled."""


@dataclass(frozen=True)
class Compiled:
    """A kernel as Triton compiles it, up to PTX."""

    name: str
    kernel: Any
    default: bool  # in the tile that serves unless tuning chooses another
    melody: bool  # launched by melody models only

    @property
    def code(self) -> str:
        """Return the PTX without the name of its target."""
        return re.sub(r"^\.target .*$", ".target", self.kernel.asm["ptx"], flags=re.MULTILINE)


Found = dict[tuple[str, str, int, int], Compiled]
"""Kernels by name, Triton's hash of source, signature and constants, warps and stages."""


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


@contextmanager
def launches_only_compile(
    arch: int, found: Found, default: bool = True, *, melody: bool = False, once: bool = False
) -> Generator[None]:
    """Compile each new kernel that is launched for `arch`, without assembling it; if `once`, one of each name."""
    compiler, launch = cast("Any", backends["nvidia"].compiler), cast("Any", JITFunction.run)
    make_cubin, names = compiler.make_cubin, set[str]()

    def compile_only(function: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        del warmup
        name = function.fn.__name__
        if once and name in names:
            return
        names.add(name)
        kernel = launch(function, *args, grid=grid, warmup=True, **options)
        place = (name, kernel.src.hash(), kernel.metadata.num_warps, kernel.metadata.num_stages)
        found.setdefault(place, Compiled(name, kernel, default, melody))

    triton.runtime.driver.set_active(cast("Any", FakeDriver(arch)))
    JITFunction.run, compiler.make_cubin = cast("Any", compile_only), staticmethod(no_cubin)
    try:
        yield
    finally:
        JITFunction.run, compiler.make_cubin = launch, staticmethod(make_cubin)


def no_cubin(*_: object) -> bytes:
    return b""


def compile_all(every_tile: bool) -> Found:
    """Compile for all sizes, slot counts and weight formats, and then in tiles that tuning may choose.

    They are every product of the largest model in every candidate for an H100, or a feed-forward part's two products in
    one candidate of each shape on all GPU types. Of the products of a shape the one with GELU takes the most registers;
    only the heads' once takes 16 more, 96 of 128.

    Melody models come last: of them only what other models do not launch is compiled.
    """
    found: Found = {}
    with launches_only_compile(FIRST, found):
        for config in SIZES:
            for slots in SLOTS:
                launch_step(config, slots, default_only, 0)
    config, choices = (LARGE, every_candidate) if every_tile else (MEDIUM, deepest_candidates)
    with launches_only_compile(FIRST, found, default=False):
        for slots in SLOTS[1:]:  # one slot has the tiles of eight
            for choice in range(max(len(choices(key)) for key in product_keys(config, slots))):
                launch_step(config, slots, choices, choice)
    with launches_only_compile(FIRST, found, melody=True):
        for config in MELODY:
            for slots in SLOTS:
                launch_step(config, slots, default_only, 0)
    return found


def default_only(key: Key) -> list[Tile]:
    return [default_tile(*key)]


def every_candidate(key: Key) -> list[Tile]:
    return candidates(key, MOST_SHARED)


def deepest_candidates(key: Key) -> list[Tile]:
    """Return each shape's candidate with the most stages, which change no layout: loads wait in shared memory.

    Only of the products of MEDIUM's feed-forward part; of others the default.
    """
    if set(key[1:3]) != {MEDIUM.hidden, MEDIUM.ffn}:
        return default_only(key)
    by_shape: dict[tuple[int, int], Tile] = {}
    for tile in sorted(candidates(key, LEAST_SHARED), key=lambda tile: tile.stages):
        by_shape[tile.features, tile.warps] = tile
    return list(by_shape.values())


def launch_step(config: DecoderConfig, slots: int, choices: Choices, choice: int) -> None:
    """Launch a step with each weight format, without and with a negative prompt, in each product's given choice."""
    meta = torch.device("meta")
    positions, text, _ = longest(config)
    empty = allocate(config, slots, positions, text, meta, torch.float16)
    for weights in meta_weights(config):
        tiles = {key: choices(key) for key in product_keys(config, slots)}
        table = TileTable({key: found[min(choice, len(found) - 1)] for key, found in tiles.items()})
        kernels = KernelStep(config, weights, positions, table)
        for text_rows in (1,) if config.melody else (1, 2):
            view = batch_view(empty, 0, slots, positions, text, text_rows)
            kernels(view, max_top_k=2048, use_top_p=True)


def longest(config: DecoderConfig) -> tuple[int, int, int]:
    """Return the positions, with a melody model's prefix, and the text's tokens of the longest clip, as a server does.

    The third number is that of the tokens of a negative prompt.
    """
    return clip_sizes(config, MAX_NEW_TOKENS, MAX_TEXT_TOKENS, MAX_TEXT_TOKENS)


@cache
def meta_weights(config: DecoderConfig) -> tuple[DecoderWeights, DecoderWeights]:
    """Return weights without values in float16 and in 8 bits."""
    with torch.device("meta"):
        plain = random_weights(config, longest(config)[0], torch.float16)
    return plain, eight_bit(plain)


def product_keys(config: DecoderConfig, slots: int) -> list[Key]:
    """Return the keys of all products of a step."""
    found: list[Key] = []
    for weights in meta_weights(config):
        layer = weights.layers[0]
        matrices = (layer.qkv, layer.self_out, layer.ffn_in, layer.ffn_out, weights.heads)
        found += [tile_key(rows, matrix) for rows in (slots, 2 * slots) for matrix in matrices]
    return found


def assemble_for_all(compiled: Compiled) -> dict[int, dict[str, int]]:
    """Return a kernel's registers and spilled bytes on each architecture."""
    return {arch: assemble(compiled, arch) for arch in TARGETS}


def assemble(compiled: Compiled, arch: int) -> dict[str, int]:
    """Return a kernel's registers and spilled bytes on an architecture, with the options of Triton's own call."""
    fused = [] if compiled.kernel.metadata.enable_fp_fusion else ["--fmad=false"]
    with tempfile.NamedTemporaryFile(suffix=".ptx") as file:
        file.write(compiled.code.replace(".target", f".target {TARGETS[arch]}", 1).encode())
        file.flush()
        command = [PTXAS, *fused, "-v", f"--gpu-name={TARGETS[arch]}", file.name, "-o", os.devnull]
        log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    (registers,) = re.findall(r"Used (\d+) registers", log)
    return {"registers": int(registers), "spilled": max(map(int, re.findall(r"(\d+) bytes (?:stack|spill)", log)))}


def report(compiled: Compiled, usage: dict[int, dict[str, int]]) -> dict[str, Any]:
    """Return the compiler's figures for a kernel."""
    kernel, ptx = compiled.kernel, compiled.kernel.asm["ptx"]
    return {
        "name": compiled.name, "default": compiled.default, "melody": compiled.melody, "usage": usage,
        "shared": kernel.metadata.shared,
        "warps": kernel.metadata.num_warps, "stages": kernel.metadata.num_stages,
        "constants": {key: value for key, value in kernel.src.constants.items() if value is not None},
        "prefetches": ptx.count("prefetch.global.L2"), "loads_ahead": ptx.count("cp.async.cg.shared.global"),
        "wide_loads": ptx.count("ld.global.v4") + ptx.count("v4.b32"), "signature": kernel.src.signature,
        "wgmma": ptx.count("wgmma.mma_async"), "mma": ptx.count("mma.sync"), "fused": ptx.count("fma.rn.f32"),
        "sums": sums(kernel.asm["ttgir"]),
    }  # fmt: skip


def compare_architectures(found: Found) -> list[dict[str, Any]]:
    """Compile one kernel of each name, for the most rows, for the other architectures; say whether it is the same."""
    lines: list[dict[str, Any]] = []
    for arch in OTHERS:
        sample: Found = {}
        with launches_only_compile(arch, sample, once=True):
            launch_step(LARGE, SLOTS[-1], default_only, 0)
        for place, one in sample.items():
            lines.append({"arch": arch, "name": one.name, "same_code": one.code == found[place].code})
    return lines


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


def main() -> None:
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # for profilers
    found = compile_all("--every-tile" in sys.argv[1:])
    with ThreadPoolExecutor(2) as pool:
        usages = pool.map(assemble_for_all, found.values())
        lines = [report(one, usage) for one, usage in zip(found.values(), usages, strict=True)]
    for line in [*lines, *compare_architectures(found)]:
        print(json.dumps(line))


if __name__ == "__main__":
    main()
