"""Time the products on a GPU, and return the tiles chosen for it. Never run yet: no GPU was available."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import statistics
from pathlib import Path
from typing import Any

import torch
import triton
from triton.compiler.errors import CompilationError
from triton.runtime.cache import default_cache_dir
from triton.runtime.errors import OutOfResources

from musicgen_serving.engine.kernels.linear import (
    NormProjection,
    ResidualProjection,
    ResidualStream,
    SplitWorkspace,
    add,
    project,
)
from musicgen_serving.engine.kernels.tiles import DEFAULT_TILES, Key, Tile, TileTable, tile_key
from musicgen_serving.engine.kernels.tuning import Fingerprint, TileCache, UnusableTileError, sources_digest, tune
from musicgen_serving.engine.model.quantisation import Matrix, quantise
from musicgen_serving.engine.model.weights import DecoderWeights, Norm
from musicgen_serving.engine.step.graphs import CudaRecorder
from musicgen_serving.json_log import JsonLog

ROUNDS, LAUNCHES = 3, 16
ROWS = (16, 32, 64)
_chosen: dict[str, TileTable] = {}  # by fingerprint: start-up asks twice, to compile and to step


def tile_table(weights: DecoderWeights, log: JsonLog) -> TileTable:
    """Return the tiles for these weights' shapes: chosen for their device, or the defaults if it is not a GPU."""
    device = weights.device
    if device.type != "cuda":
        return DEFAULT_TILES
    properties = torch.cuda.get_device_properties(device)
    layer = weights.layers[0]
    matrices = (layer.qkv, layer.self_out, layer.ffn_in, layer.ffn_out, weights.heads)
    keys = sorted({tile_key(rows, matrix) for rows in ROWS for matrix in matrices})
    fingerprint = Fingerprint(
        device=torch.cuda.get_device_name(device),
        shared_bytes=int(properties.shared_memory_per_multiprocessor),
        versions=f"torch {torch.__version__}, triton {triton.__version__}",
        sources=sources_digest(),
        keys=tuple(keys),
    )
    if fingerprint.digest not in _chosen:
        cache = TileCache(Path(triton_cache()), log)
        _chosen[fingerprint.digest] = tune(fingerprint, cache, ProductTimer(device), log)
    return _chosen[fingerprint.digest]


def triton_cache() -> str:
    """Return the folder of Triton's disk cache, which lives as long as the instance."""
    return os.environ.get("TRITON_CACHE_DIR", "").strip() or default_cache_dir()


class ProductTimer:
    """Time launches in a CUDA graph, as steps are; launched one by one, Python would take longer than the device.

    Weights are random, because zeros are read faster, and of several copies, which the L2 cache cannot hold.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recorder = CudaRecorder(device)
        self._copies = 2 * int(torch.cuda.get_device_properties(device).L2_cache_size)  # bytes
        self._weights: tuple[Key, list[Matrix]] | None = None

    @torch.inference_mode()
    def __call__(self, key: Key, tile: Tile) -> float:
        """Return the median seconds of a launch; raise UnusableTileError if the kernel spills or does not fit."""
        launches = self._launches(key, TileTable({key: tile}))
        with torch.cuda.device(self._device):
            try:
                spilled = int(getattr(launches[0](), "n_spills", 0))
            except (OutOfResources, CompilationError) as error:
                raise UnusableTileError(str(error)) from error
            if spilled:
                raise UnusableTileError(f"{spilled} registers spilled")

            def work() -> None:
                for index in range(LAUNCHES):
                    launches[index % len(launches)]()

            self._recorder.rehearse(work)
            return self._seconds(self._recorder.record(work)) / LAUNCHES

    def _seconds(self, replay: Any) -> float:
        """Return the median seconds of a replay, after one that warms up."""
        replay()
        times: list[float] = []
        for _ in range(ROUNDS):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            replay()
            last.record()
            last.synchronize()
            times.append(first.elapsed_time(last) / 1000)
        return statistics.median(times)

    def _launches(self, key: Key, table: TileTable) -> list[Any]:
        """Return a launch for each copy of the weight."""
        rows, features, width, _ = key
        weights, device = self._copies_of(key), self._device
        workspace = SplitWorkspace(rows, weights[:1], device, table)
        hidden = width if features > width else features
        stream, norm = ResidualStream(rows, hidden, device, torch.float16), self._norm(hidden)
        for part in (stream.values, stream.scaled, stream.deviations):
            part.normal_().abs_()
        if features > width:
            out = torch.empty(rows, features, device=device, dtype=torch.float16)
            projections = [NormProjection(norm, weight) for weight in weights]
            return [lambda one=one: project(stream, one, out, workspace) for one in projections]
        x = torch.randn(rows, width, device=device).half()
        into = [ResidualProjection(weight=one, even_gain=norm.weight, odd_gain=norm.weight) for one in weights]
        return [lambda one=one: add(stream, one, x, workspace) for one in into]

    def _norm(self, hidden: int) -> Norm:
        return Norm(*(torch.randn(hidden, device=self._device).half() for _ in range(2)))

    def _copies_of(self, key: Key) -> list[Matrix]:
        """Return random weights of the product's shape, kept until the next shape is asked for."""
        _, features, width, item = key
        shape: Key = (0, features, width, item)
        if self._weights is None or self._weights[0] != shape:
            self._weights = None  # frees the last shape's memory
            count = 1 + -(-self._copies // (features * width * item))
            made = (torch.randn(features, width, device=self._device).mul_(width**-0.5).half() for _ in range(count))
            self._weights = (shape, [quantise(one) if item == 1 else one for one in made])
        return self._weights[1]
