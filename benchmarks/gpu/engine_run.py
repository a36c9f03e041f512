"""Measure this engine on one checkpoint: loading, one clip, many at once."""

import gc
import io
import json
import statistics
import threading
import time
from collections.abc import Generator as Iterate
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.device import median_seconds, wall_seconds
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.step import delay_pattern
from musicgen_serving.json_log import JsonLog

TEXT = "80s pop track with bassy drums and synth"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    steps: int  # of a clip; 1503 is 30 seconds
    rounds: int
    in_flight: tuple[int, ...]
    stock: tuple[str, ...]
    stock_steps: int


@contextmanager
def loaded(folder: Path, slots: int, *, eight_bit: bool) -> Iterate[tuple[Generator, dict[str, Any]]]:
    """The engine with its line of start-up, ended afterwards."""
    free_unused_memory()
    lines = io.StringIO()
    weight_format, log = WeightFormat(eight_bit=eight_bit), JsonLog(lines, "memory")
    generator = Generator(
        folder, weight_format=weight_format, capacity=Capacity(slots=slots, max_waiting=4 * slots), log=log
    )
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    start = next(event for event in events if event["event"] == "loaded")
    start |= {"others": [event for event in events if event["event"] != "loaded"]}
    try:
        yield generator, start
    finally:
        generator.close()


def free_unused_memory() -> None:
    """Free unused memory, including reference cycles of recorded graphs."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def clip_of(seed: int, plan: Plan) -> ClipSpec:
    """A clip as a request that says nothing else gets it."""
    return ClipSpec(TEXT, seed, SamplingParams(max_new_tokens=plan.steps))


def one_clip(generator: Generator, plan: Plan) -> dict[str, Any]:
    """One clip, from text to samples in the host's memory by the clock, and its steps alone by the device's."""
    generator.generate([clip_of(0, plan)])
    whole = statistics.median(wall_seconds(lambda: generator.generate([clip_of(1, plan)])) for _ in range(plan.rounds))
    return {"clip_seconds": whole, "decode_seconds": decode_seconds(generator, 1, plan)}


def decode_seconds(generator: Generator, clips: int, plan: Plan) -> float:
    """All steps of so many clips at once, the engine's thread being idle; nothing is admitted or handed over."""
    frames = clip_of(0, plan).params.frames
    count = delay_pattern.steps(frames, generator.loop.config.delays)
    slots = generator.loop.slots

    with prepared(generator, clips, plan):
        planned = slots.tokens[:clips].clone()

        def decode() -> None:
            slots.tokens[:clips] = planned
            slots.position[:clips] = 0
            steps(generator, clips, 0, count)

        return median_seconds(decode, generator.device, plan.rounds if clips == 1 else 1)


@contextmanager
def prepared(generator: Generator, clips: int, plan: Plan) -> Iterate[None]:
    """Clips in the first slots, admitted and at position 0, and none there afterwards."""
    clip, loop = clip_of(0, plan), generator.loop
    settle(generator.device)  # the engine's thread may still be leaving the slots, on a stream of its own
    (states,) = generator.text_encoder.encode([generator.tokenize(0, TEXT)])
    for slot in range(clips):
        loop.admit(slot, states, clip.params.frames, clip.params, slot)
    try:
        yield
    finally:
        for slot in range(clips):
            loop.slots.deactivate(slot)
        settle(generator.device)


def settle(device: torch.device) -> None:
    """Wait until the device has finished all work, on any stream."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def steps(generator: Generator, clips: int, first: int, last: int) -> None:
    """Steps from one position to before another."""
    loop, granule = generator.loop, generator.batch.length_multiple
    for position in range(first, last):
        length = min(-(-(position + 1) // granule) * granule, loop.positions)
        loop.step(0, clips, length=length, text_length=loop.text_length, max_top_k=250, use_top_p=False)


def throughput(generator: Generator, clips: int, plan: Plan) -> dict[str, Any]:
    """Clips per second with so many in flight: of the steps alone, and from texts to samples as requests see it.

    Twice as many requests come at once, and no more than half of them are in flight. What counts is the time from the
    first half's last samples to the second half's: EnCodec's decode of the one half runs beside the other's steps, as
    it does where requests never end.
    """
    finished: list[float] = []

    def request(seed: int) -> None:
        generator.generate([clip_of(seed, plan)])
        finished.append(time.perf_counter())

    threads = [threading.Thread(target=request, args=(seed,)) for seed in range(2 * clips)]
    slots, generator.batch.max_sequences = generator.batch.max_sequences, clips
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    generator.batch.max_sequences = slots
    finished.sort()
    decode = decode_seconds(generator, clips, plan)
    return {
        "in_flight": clips,
        "clips_per_second": clips / (finished[2 * clips - 1] - finished[clips - 1]),
        "decode_seconds": decode,
        "decode_clips_per_second": clips / decode,
    }


def memory_in_use(device: torch.device) -> dict[str, int] | None:
    """Bytes: the most that tensors took, and all that is taken of the device, context and graphs included."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return {"peak_allocated_bytes": torch.cuda.max_memory_allocated(device), "device_bytes": total - free}
