"""Everything that is measured of one model."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import ours, stock_ways
from benchmarks.gpu.logits import errors
from benchmarks.gpu.ours import Plan, loaded
from benchmarks.gpu.roofline import clip_seconds, weight_bytes
from benchmarks.gpu.timing import wall_seconds
from musicgen_serving.engine import delay_pattern
from musicgen_serving.generation import Generator
from musicgen_serving.json_log import JsonLog

FEW = 8  # slots of the first engine: what fits beside stock's model
ROOM_FOR_BOTH = 40e9  # bytes of a device on which engine and stock models may be in memory together


def run(folder: Path, device: torch.device, plan: Plan, bandwidth: float, log: JsonLog) -> dict[str, Any]:
    """One model: the engine with few slots beside stock, then with many, then with 8-bit weights."""
    found = with_few_slots(folder, device, plan, bandwidth, log)
    many = [count for count in plan.in_flight if count > FEW]
    if many:
        with loaded(folder, max(many), eight_bit=False) as (generator, start):
            slots = start["slots"]
            found["slots_that_fit"] = slots
            found["in_flight"] += [ours.throughput(generator, count, plan) for count in many if count <= slots]
    found["int8"] = with_eight_bits(folder, device, plan, bandwidth, log)
    return found


def with_few_slots(
    folder: Path, device: torch.device, plan: Plan, bandwidth: float, log: JsonLog
) -> dict[str, Any]:  # fmt: skip
    """Start-up, one clip, few in flight, memory, trace, error, and stock's ways in turn with the engine's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found: dict[str, Any] = {}
    with loaded(folder, FEW, eight_bit=False) as (generator, start):
        few = [ours.throughput(generator, count, plan) for count in plan.in_flight if count <= FEW]
        one, loop = ours.one_clip(generator, plan), generator.loop
        found |= {"start": start, "one": one, "in_flight": few, "memory": ours.memory_in_use(device)}
        found |= against_roofline(generator, plan, bandwidth, one["decode_seconds"])
        found["trace"] = ours.step_trace(generator, plan)
        found["error"] = errors(folder, loop.config, loop.weights, device, log)
        if together := memory_of(device) > ROOM_FOR_BOTH:
            found |= beside_stock(folder, device, plan, generator)
    if not together:
        found |= beside_stock(folder, device, plan, None)
    sample = found["stock"].get("sample", {}).get("clip_seconds")
    return found | {"times_faster_than_sample": sample / one["clip_seconds"] if sample else None}


def memory_of(device: torch.device) -> float:
    """Bytes; a CPU's are not counted."""
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else float("inf")


def against_roofline(generator: Generator, plan: Plan, bandwidth: float, decode: float) -> dict[str, Any]:
    """The least time that reading takes, and how near to it the steps came."""
    config = generator.loop.config
    steps = delay_pattern.steps(ours.clip_of(0, plan).params.frames, config.delays)
    least = clip_seconds(config, steps, 1, bandwidth)
    return {"weight_bytes_per_step": weight_bytes(config), "roofline_seconds": least, "roofline_share": least / decode}


def beside_stock(folder: Path, device: torch.device, plan: Plan, generator: Generator | None) -> dict[str, Any]:
    """Stock's ways; where memory allows, each round of theirs after one of the engine's."""
    own: list[float] = []

    def turn() -> None:
        if generator is not None:
            own.append(wall_seconds(partial(generator.generate, [ours.clip_of(2, plan)])))

    measured = {way: stock_ways.measure(way, folder, device, plan, turn) for way in plan.stock}
    return {"stock": measured, "clip_seconds_between_stocks": own}


def with_eight_bits(
    folder: Path, device: torch.device, plan: Plan, bandwidth: float, log: JsonLog
) -> dict[str, Any]:  # fmt: skip
    """One clip with weights of 8 bits, and what that does to the logits."""
    with loaded(folder, 1, eight_bit=True) as (generator, start):
        one = ours.one_clip(generator, plan)
        loop = generator.loop
        steps = delay_pattern.steps(ours.clip_of(0, plan).params.frames, loop.config.delays)
        return {
            **one,
            "start": start,
            "roofline_seconds": clip_seconds(loop.config, steps, 1, bandwidth, eight_bit=True),
            "error": errors(folder, loop.config, loop.weights, device, log),
        }
