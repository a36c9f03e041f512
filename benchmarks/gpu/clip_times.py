"""Time the engine's clips on one checkpoint: one clip, many at once, and their decode steps alone."""

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
from benchmarks.stock import TEXT, free_unused_memory
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.step import delay_pattern
from musicgen_serving.json_log import JsonLog

TIMED_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured, and how often."""

    steps: int  # of a clip; 1503 is 30 seconds
    rounds: int
    in_flight: tuple[int, ...]
    stock: tuple[str, ...]
    stock_steps: int

    def clip(self, seed: int) -> ClipSpec:
        """Return a clip with default sampling."""
        return ClipSpec(TEXT, seed, SamplingParams(max_new_tokens=self.steps))

    def decode_steps(self, generator: Generator) -> int:
        return delay_pattern.steps(self.clip(0).params.frames, generator.runner.config.delays)


@contextmanager
def running_engine(folder: Path, slots: int, *, eight_bit: bool) -> Iterate[tuple[Generator, dict[str, Any]]]:
    """Load the engine and stop it afterwards; yield it with its log line `loaded` and, as `others`, all other lines."""
    free_unused_memory()
    lines = io.StringIO()
    eight_bit = eight_bit and torch.cuda.is_available()  # the engine refuses it on a CPU, which only tests the harness
    weight_format, capacity = WeightFormat(eight_bit=eight_bit), Capacity(slots=slots, max_waiting=4 * slots)
    generator = Generator(folder, weight_format=weight_format, capacity=capacity, log=JsonLog(lines, "memory"))
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    start = next(event for event in events if event["event"] == "loaded")
    start |= {"others": [event for event in events if event["event"] != "loaded"]}
    try:
        yield generator, start
    finally:
        generator.close()


def time_one_clip(generator: Generator, plan: Plan) -> dict[str, Any]:
    """Time one clip by the clock, from text to samples on the host, and its steps alone by the device's events."""
    generator.generate([plan.clip(0)])
    whole = statistics.median(wall_seconds(lambda: generator.generate([plan.clip(1)])) for _ in range(plan.rounds))
    return {"clip_seconds": whole, "decode_seconds": time_decode(generator, 1, plan)}


def time_decode(generator: Generator, clips: int, plan: Plan) -> float:
    """Return the seconds of all steps of `clips` clips at once, while the engine's own thread is idle."""
    slots = generator.runner.slots
    with admitted(generator, clips, plan):
        tokens = slots.tokens[:clips].clone()

        def decode() -> None:
            slots.tokens[:clips] = tokens
            slots.position[:clips] = 0
            run_steps(generator, clips, 0, plan.decode_steps(generator))

        return median_seconds(decode, generator.device, plan.rounds if clips == 1 else 1)


@contextmanager
def admitted(generator: Generator, clips: int, plan: Plan) -> Iterate[None]:
    """Admit clips to the first slots, at position 0, and empty the slots afterwards."""
    clip, runner = plan.clip(0), generator.runner
    synchronize(generator.device)  # the engine's thread may still be emptying slots, on another stream
    (states,) = generator.text_encoder.encode([generator.tokenize(0, TEXT)])
    for slot in range(clips):
        runner.admit(slot, states, clip.params.frames, clip.params, slot)
    try:
        yield
    finally:
        for slot in range(clips):
            runner.release(slot)
        synchronize(generator.device)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all work, on any stream."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_steps(generator: Generator, clips: int, first: int, last: int) -> None:
    """Step from position `first` up to, not including, `last`."""
    runner, multiple = generator.runner, generator.batch.length_multiple
    for position in range(first, last):
        length = min(-(-(position + 1) // multiple) * multiple, runner.positions)
        runner.step(0, clips, length=length, text_length=runner.text_length, max_top_k=250, use_top_p=False)


def clips_that_fit(generator: Generator, plan: Plan) -> int:
    """Return how many of the plan's clips the idle engine's slots and pages hold at once."""
    runner = generator.runner
    pages = runner.count_pages(plan.clip(0).params.frames, len(generator.tokenize(0, TEXT)))
    return min(runner.slots.position.shape[0], runner.allocator.free // pages)


def time_steps(generator: Generator, clips: int, plan: Plan) -> float:
    """Return the seconds of a step of `clips` clips in the middle of their length, as recorded graphs if there are any.

    Keys and values are random, because a device reads zeros faster.
    """
    slots, middle = generator.runner.slots, plan.decode_steps(generator) // 2
    count = min(TIMED_STEPS, middle // 2)
    with admitted(generator, clips, plan):
        for layer in slots.kv:
            layer.normal_()
        slots.tokens[:clips].clamp_(min=0)  # as if generated so far

        def step() -> None:
            slots.position[:clips] = middle - count // 2
            run_steps(generator, clips, middle - count // 2, middle - count // 2 + count)

        return median_seconds(step, generator.device, plan.rounds) / count


def measure_throughput(generator: Generator, clips: int, plan: Plan) -> dict[str, Any]:
    """Measure clips per second with `clips` in flight: from text to samples, and of the steps alone.

    Twice as many requests arrive at once, half of which are in flight at a time. What counts is the time from the last
    samples of the first half to those of the second: like under constant load, EnCodec decodes one half while the
    other is stepped.
    """
    finished: list[float] = []

    def request(seed: int) -> None:
        generator.generate([plan.clip(seed)])
        finished.append(time.perf_counter())

    threads = [threading.Thread(target=request, args=(seed,)) for seed in range(2 * clips)]
    max_sequences, generator.batch.max_sequences = generator.batch.max_sequences, clips
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    generator.batch.max_sequences = max_sequences
    finished.sort()
    decode = time_decode(generator, clips, plan)
    return {
        "in_flight": clips,
        "clips_per_second": clips / (finished[2 * clips - 1] - finished[clips - 1]),
        "decode_seconds": decode,
        "decode_clips_per_second": clips / decode,
    }
