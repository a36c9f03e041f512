"""Everything that is measured of one model."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import engine_run, stock_run
from benchmarks.gpu.device import wall_seconds
from benchmarks.gpu.engine_run import Plan, loaded
from benchmarks.gpu.limits import clip_seconds, weight_bytes
from benchmarks.gpu.logits import errors
from benchmarks.gpu.step_trace import traced
from musicgen_serving.engine.generator import Generator
from musicgen_serving.engine.step import delay_pattern
from musicgen_serving.json_log import JsonLog

FEW = 8  # slots of the first engine: what fits beside stock's model
ROOM_FOR_BOTH = 40e9  # bytes of a device on which engine and stock models may be in memory together


def run(folder: Path, device: torch.device, plan: Plan, bandwidth: float, log: JsonLog) -> dict[str, Any]:
    """One model: the engine with few slots, beside stock where both fit, with many, with 8-bit weights, and traced."""
    together = memory_of(device) > ROOM_FOR_BOTH
    found = with_few_slots(folder, device, plan, bandwidth, together)
    if not together:
        found |= beside_stock(folder, device, plan, None)
    sample, own = found["stock"].get("sample", {}).get("clip_seconds"), found["one"]["clip_seconds"]
    found["times_faster_than_sample"] = sample / own if sample else None
    found |= {"interleaved": together, "error": errors(folder, device, log, eight_bit=False)}
    many = [count for count in plan.in_flight if count > FEW]
    if many:
        found |= with_many_slots(folder, plan, many, found["in_flight"])
    found["int8"] = with_eight_bits(folder, device, plan, bandwidth, log)
    return found | {"trace": traced(folder, min(20, plan.steps // 2))}


def with_few_slots(folder: Path, device: torch.device, plan: Plan, bandwidth: float, together: bool) -> dict[str, Any]:
    """Start-up, few in flight, one clip, memory, and stock's ways in turn with the engine's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found: dict[str, Any] = {}
    with loaded(folder, FEW, eight_bit=False) as (generator, start):
        few = [engine_run.throughput(generator, count, plan) for count in plan.in_flight if count <= FEW]
        one = engine_run.one_clip(generator, plan)
        found |= {"start": start, "one": one, "in_flight": few, "memory": engine_run.memory_in_use(device)}
        found |= against_roofline(generator, plan, bandwidth, one["decode_seconds"])
        return found | (beside_stock(folder, device, plan, generator) if together else {})


def with_many_slots(folder: Path, plan: Plan, many: list[int], few: list[dict[str, Any]]) -> dict[str, Any]:
    """More clips in flight, as far as there is memory for them."""
    with loaded(folder, max(many), eight_bit=False) as (generator, start):
        more = [engine_run.throughput(generator, count, plan) for count in many if count <= start["slots"]]
        return {"slots_that_fit": start["slots"], "in_flight": few + more}


def memory_of(device: torch.device) -> float:
    """Bytes; a CPU's are not counted."""
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else float("inf")


def against_roofline(generator: Generator, plan: Plan, bandwidth: float, decode: float) -> dict[str, Any]:
    """The least time that reading takes, and how near to it the steps came."""
    config = generator.loop.config
    steps = delay_pattern.steps(engine_run.clip_of(0, plan).params.frames, config.delays)
    least = clip_seconds(config, steps, 1, bandwidth)
    return {"weight_bytes_per_step": weight_bytes(config), "roofline_seconds": least, "roofline_share": least / decode}


def beside_stock(folder: Path, device: torch.device, plan: Plan, generator: Generator | None) -> dict[str, Any]:
    """Stock's ways; where memory allows, each round of theirs after one of the engine's."""
    own: list[float] = []

    def turn() -> None:
        if generator is not None:
            own.append(wall_seconds(partial(generator.generate, [engine_run.clip_of(2, plan)])))

    measured = {way: stock_run.measure(way, folder, device, plan, turn) for way in plan.stock}
    return {"stock": measured, "clip_seconds_between_stocks": own}


def with_eight_bits(folder: Path, device: torch.device, plan: Plan, bandwidth: float, log: JsonLog) -> dict[str, Any]:
    """One clip with weights of 8 bits, and what that does to the logits."""
    error = errors(folder, device, log, eight_bit=True)
    with loaded(folder, 1, eight_bit=True) as (generator, start):
        one, config = engine_run.one_clip(generator, plan), generator.loop.config
        steps = delay_pattern.steps(engine_run.clip_of(0, plan).params.frames, config.delays)
        least = clip_seconds(config, steps, 1, bandwidth, eight_bit=True)
        return {**one, "start": start, "roofline_seconds": least, "error": error}
