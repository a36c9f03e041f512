"""Test how tiles are chosen, with a fake timer and clock in place of a GPU."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from musicgen_serving.engine.kernels import product_timer
from musicgen_serving.engine.kernels.tiles import Key, Tile, TileTable, default_tile, is_crowded
from musicgen_serving.engine.kernels.tuning import (
    Fingerprint,
    TileCache,
    UnusableTileError,
    candidates,
    sources_digest,
    sweep,
    tune,
)

A10G, H100 = 100 * 1024, 228 * 1024  # bytes of shared memory of a multiprocessor
HIDDEN = 2048
SHAPES = ((3 * HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (4 * HIDDEN, HIDDEN), (HIDDEN, 4 * HIDDEN))
KEYS: tuple[Key, ...] = tuple((rows, *shape, 2) for rows in (16, 32, 64) for shape in SHAPES)
PRINT = Fingerprint(device="NVIDIA A10G", shared_bytes=A10G, versions="2.6 3.2", sources=sources_digest(), keys=KEYS)


class FakeTimer:
    """Take a second of a fake clock for each measurement; `seconds` has the times of tiles, all others take 1.0."""

    def __init__(self, seconds: dict[tuple[Key, Tile], float | Exception] | None = None) -> None:
        self.seconds = seconds or {}
        self.clock = 0.0
        self.measured: list[tuple[Key, Tile]] = []

    def now(self) -> float:
        return self.clock

    def __call__(self, key: Key, tile: Tile) -> float:
        self.clock += 1
        self.measured.append((key, tile))
        found = self.seconds.get((key, tile), 1.0)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.parametrize("shared", [A10G, H100])
@pytest.mark.parametrize("item", [1, 2])
@pytest.mark.parametrize("rows", [16, 32, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_candidates_sum_in_the_defaults_order_and_leave_room_for_two(
    shape: tuple[int, int], rows: int, item: int, shared: int
) -> None:
    found = candidates((rows, *shape, item), shared)
    default = default_tile(rows, *shape, item)
    assert found[0] == default and len(set(found)) == len(found) > 1
    for tile in found:
        assert tile.order == default.order
        assert 2 * (tile.shared_bytes(rows, item) + 1024) <= shared
        assert not is_crowded(rows, tile.features, tile.warps, item)
        assert tile.warps >= 2 and shape[0] % tile.features == 0
        if shape[0] <= shape[1]:
            assert (tile.features, tile.warps) == (32, rows // 8)  # of which sums over columns depend


def test_chooses_the_fastest_tile_of_each_product() -> None:
    key = KEYS[0]
    fast, faster = candidates(key, A10G)[1:3]
    chosen, complete = sweep(KEYS, A10G, FakeTimer({(key, fast): 0.8, (key, faster): 0.7}), budget=1000)
    assert complete and set(chosen) == set(KEYS)
    assert chosen[key] == faster
    assert all(chosen[other] == default_tile(*other) for other in KEYS if other != key)


def test_keeps_the_default_unless_another_is_clearly_faster() -> None:
    key = KEYS[0]
    other = candidates(key, A10G)[1]
    assert sweep([key], A10G, FakeTimer({(key, other): 0.98}))[0][key] == default_tile(*key)
    assert sweep([key], A10G, FakeTimer({(key, other): 0.96}))[0][key] == other


def test_excludes_tiles_that_spill() -> None:
    key = KEYS[0]
    spilling, usable = candidates(key, A10G)[1:3]
    timer = FakeTimer({(key, spilling): UnusableTileError("12 bytes spilled"), (key, usable): 0.5})
    assert sweep([key], A10G, timer)[0] == {key: usable}


def test_a_product_whose_default_cannot_be_measured_keeps_it() -> None:
    key = KEYS[0]
    timer = FakeTimer({(key, default_tile(*key)): UnusableTileError("spills")})
    assert sweep([key], A10G, timer)[0] == {} and len(timer.measured) == 1


def test_stops_at_the_time_limit_with_few_rows_and_large_weights_first() -> None:
    timer = FakeTimer()
    chosen, complete = sweep(KEYS, A10G, timer, budget=30, now=timer.now)
    assert not complete and timer.clock == 30
    order = list(chosen)
    assert order[:2] == [(16, 4 * HIDDEN, HIDDEN, 2), (16, HIDDEN, 4 * HIDDEN, 2)] and len(order) < len(KEYS)


def test_a_second_start_measures_nothing(tmp_path: Path, memory_log: Any) -> None:
    cache, timer, key = TileCache(tmp_path, memory_log.log), FakeTimer(), KEYS[0]
    timer.seconds[key, candidates(key, A10G)[1]] = 0.5
    first = tune(PRINT, cache, timer, memory_log.log, budget=1000)
    again = FakeTimer()
    assert tune(PRINT, cache, again, memory_log.log) == first and again.measured == []
    assert first.tuned[key] == candidates(key, A10G)[1]
    (line,) = memory_log.events("tuned")
    assert line["changed"] == 1 and line["complete"] and line["products"] == len(KEYS)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


@pytest.mark.parametrize(
    "change",
    [{"device": "NVIDIA L4"}, {"versions": "2.7 3.3"}, {"sources": "x"}, {"keys": KEYS[:4]}, {"shared_bytes": H100}],
)
def test_another_device_version_or_model_is_measured_anew(
    change: dict[str, Any], tmp_path: Path, memory_log: Any
) -> None:
    cache = TileCache(tmp_path, memory_log.log)
    tune(PRINT, cache, FakeTimer(), memory_log.log, budget=1000)
    timer = FakeTimer()
    tune(replace(PRINT, **change), cache, timer, memory_log.log, budget=1000)
    assert timer.measured


def damaged(found: Any, kind: str) -> str:
    if kind == "another order":
        found["tiles"][0][1]["splits"] = 8
    elif kind == "no tiles":
        del found["tiles"]
    elif kind == "too large":
        found["tiles"][0][1]["stages"] = 10**9
    return json.dumps(found)[: 50 if kind == "cut" else None]


@pytest.mark.parametrize("kind", ["cut", "another order", "no tiles", "too large"])
def test_a_damaged_file_is_logged_and_measured_anew(kind: str, tmp_path: Path, memory_log: Any) -> None:
    cache = TileCache(tmp_path, memory_log.log)
    first = tune(PRINT, cache, FakeTimer(), memory_log.log, budget=1000)
    path = cache.path(PRINT)
    path.write_text(damaged(json.loads(path.read_text(encoding="utf-8")), kind), encoding="utf-8")
    timer = FakeTimer()
    assert tune(PRINT, cache, timer, memory_log.log, budget=1000) == first and timer.measured
    assert len(memory_log.events("tiles_cache_ignored")) == 1
    assert cache.read(PRINT) == first.tuned


def test_a_device_that_fails_leaves_the_defaults(tmp_path: Path, memory_log: Any) -> None:
    timer = FakeTimer({(key, default_tile(*key)): RuntimeError("an illegal memory access") for key in KEYS})
    assert tune(PRINT, TileCache(tmp_path, memory_log.log), timer, memory_log.log).tuned == {}
    assert memory_log.events("tuning_failed") and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_costs_only_the_cache(tmp_path: Path, memory_log: Any) -> None:
    (tmp_path / "file").touch()
    table = tune(PRINT, TileCache(tmp_path / "file" / "x", memory_log.log), FakeTimer(), memory_log.log, budget=1000)
    assert len(table.tuned) == len(KEYS) and memory_log.events("tiles_not_cached")


@pytest.mark.parametrize(
    ("shared", "multiprocessors"), [(A10G, 80), (A10G, 142), (164 * 1024, 108), (H100, 132)],
    ids=["A10G", "L40S", "A100", "H100"],
)  # fmt: skip
def test_one_clip_of_large_is_a_single_wave(shared: int, multiprocessors: int) -> None:
    for features, width in SHAPES:
        tile = default_tile(16, features, width)
        at_once = shared // (tile.shared_bytes(16, 2) + 1024) * multiprocessors
        assert features // tile.features * tile.splits <= at_once


@pytest.mark.parametrize("key", [(16, 192, 64, 2), (16, 64, 64, 1), (32, 64, 256, 2)])
def test_launches_of_the_timer_multiply_random_weights_beyond_the_l2_cache(
    key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", MagicMock(return_value=SimpleNamespace(L2_cache_size=2**15))
    )
    monkeypatch.setattr(product_timer, "CudaRecorder", MagicMock())
    monkeypatch.setattr(product_timer, "SplitWorkspace", workspaces := MagicMock(wraps=product_timer.SplitWorkspace))
    launches = product_timer.ProductTimer(torch.device("cpu"))._launches(key, TileTable())  # pyright: ignore[reportPrivateUsage]
    assert len(launches) * key[1] * key[2] * key[3] > 2**16
    for launch in launches[:2]:
        launch()
    (call,) = workspaces.call_args_list
    assert call.args[1][0].shape == key[1:3]
