"""Measure the engine on a GPU against its memory bandwidth and stock generate: `make bench-gpu`.

For each model: start-up, milliseconds per step, one clip of 30 seconds, clips per second, memory, launches per step,
error of the logits, 8-bit weights, and three ways to use transformers, all on one device in one run, with random
weights of the published shapes. Stock's clips are short and scaled by their steps, which flatters them: their steps
become slower as a clip grows. `--quick` answers in minutes whether the engine runs, and how fast it steps.

Results go to a JSON file named after the device under benchmarks/results/, which is rewritten after each section: one
that fails, or a run that is ended, leaves the others. Goals are printed; the exit code is 1 if one is missed or a
section failed.
"""

import argparse
import json
import re
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import stock
from benchmarks.checkpoints import SIZES, write_checkpoint
from benchmarks.gpu.clip_times import (
    Plan,
    clips_that_fit,
    measure_throughput,
    running_engine,
    time_one_clip,
    time_steps,
)
from benchmarks.gpu.device import device_info, wall_seconds
from benchmarks.gpu.logit_error import logit_errors
from benchmarks.gpu.report import RESULTS, goals
from benchmarks.gpu.roofline import clip_seconds, costs, step_bytes, weight_bytes
from benchmarks.gpu.sections import ResultsFile
from benchmarks.gpu.step_launches import trace_steps
from musicgen_serving.engine.generator import Generator
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.json_log import JsonLog

FEW_SLOTS = 8  # slots of the first engine, few enough that the stock model fits too
MEMORY_FOR_BOTH = 40e9  # bytes; on a larger device the engine's and the stock model are loaded together


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and print; return 1 if a goal is missed or a section failed."""
    options = parse_options(arguments)
    device = torch.device("cuda", 0) if options.device == "cuda" else torch.device("cpu")
    plan = Plan(
        steps=options.tokens, rounds=options.rounds, in_flight=tuple(options.in_flight),
        stock=tuple(options.stock), stock_steps=options.stock_tokens,
    )  # fmt: skip
    results = device_info(device)
    name = re.sub(r"[^a-z0-9]+", "-", results["device"].lower()).strip("-")
    path = options.results / f"{name}{'-quick' if options.quick else ''}.json"
    results |= {"quick": options.quick, "plan": vars(plan), "models": earlier_models(path, results)}
    file = ResultsFile(path, results)
    file.write()
    for size in options.models:
        print(f"{size} on {results['device']}", flush=True)
        results["models"][size] = model = {"copy_bytes_per_second": results["copy_bytes_per_second"]}
        with tempfile.TemporaryDirectory(dir=options.scratch) as temporary:
            folder = Path(temporary) / size
            if file.section(model, "checkpoint", partial(prepare, folder, size, device)):
                (measure_quickly if options.quick else measure_model)(file, model, folder, device, plan)
    copies, reads = (results[f"{kind}_bytes_per_second"] / 1e9 for kind in ("copy", "read"))
    print(f"copies {copies:.0f} GB/s, reads {reads:.0f} GB/s; results in {path}")
    return print_goals(results)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu only tests the harness")
    parser.add_argument("--quick", action="store_true", help="only what takes minutes; by default for large")
    parser.add_argument("--models", nargs="+", choices=SIZES, help="default: small, medium and large")
    parser.add_argument("--tokens", type=int, default=1503, help="tokens per codebook and clip (1503: 30 seconds)")
    parser.add_argument("--stock-tokens", type=int, default=128, help="the same of stock's clips (default 128)")
    parser.add_argument("--stock", nargs="*", choices=stock.METHODS, default=stock.METHODS, help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken (default 3)")
    parser.add_argument("--in-flight", type=int, nargs="+", help="clips at once (default 8 16 32; quick: 1 8 32)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--scratch", type=Path, help="folder for temporary checkpoints of up to 7.2 GB")
    options = parser.parse_args(arguments)
    options.models = options.models or (["large"] if options.quick else ["small", "medium", "large"])
    options.in_flight = options.in_flight or ([1, 8, 32] if options.quick else [8, 16, 32])
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device is available; --device cpu only tests the harness")
    return options


def prepare(folder: Path, size: str, device: torch.device) -> dict[str, Any]:
    """Write the model's checkpoint; there are no figures yet."""
    write_checkpoint(folder, size, device)
    return {}


def measure_quickly(file: ResultsFile, model: dict[str, Any], folder: Path, device: torch.device, plan: Plan) -> None:
    """Measure start-up with self-verification, milliseconds per step, a clip of one second, and a step's launches.

    For large on an H200 some three minutes, estimated: writing the checkpoint 60 s, two starts of 40 s, the rest 20 s.
    """
    with ExitStack() as running:
        loaded: list[Generator] = []

        def start() -> dict[str, Any]:
            generator, fields = running.enter_context(running_engine(folder, max(plan.in_flight), eight_bit=False))
            loaded.append(generator)
            return {"start": fields}

        if file.section(model, "start", start):
            (generator,) = loaded
            file.section(model, "clip", lambda: {"second_of_audio": time_second(generator)})
            fit = clips_that_fit(generator, plan)
            for clips in sorted({min(count, fit) for count in plan.in_flight}):
                file.section(model, f"steps_{clips}", partial(add_steps, model, generator, clips, plan, file.results))
    del loaded[:]  # frees its memory
    file.section(model, "trace", lambda: {"trace": trace_steps(folder, min(20, plan.steps // 2))})


def time_second(generator: Generator) -> dict[str, Any]:
    """Generate a clip of one second twice; return the time of the second, and whether they are equal and not silent."""
    clip = ClipSpec(stock.TEXT, 1, SamplingParams(max_new_tokens=53))
    samples = [generator.generate([clip]).clips[0]]
    seconds = wall_seconds(lambda: samples.append(generator.generate([clip]).clips[0]))
    repeats, peak = bool((samples[0] == samples[1]).all()), float(abs(samples[0]).max())
    return {"clip_seconds": seconds, "repeats": repeats, "peak": peak}


def add_steps(
    model: dict[str, Any], generator: Generator, clips: int, plan: Plan, results: dict[str, Any]
) -> dict[str, Any]:
    """Time steps of so many clips; return the entries so far and this one."""
    seconds = time_steps(generator, clips, plan)
    size = step_bytes(generator.runner.config, plan.decode_steps(generator) // 2, clips)
    shares = {f"{kind}_share": size / seconds / results[f"{kind}_bytes_per_second"] for kind in ("copy", "read")}
    return {
        "steps": [*model.get("steps", []), {"clips": clips, "milliseconds": seconds * 1000, "bytes": size, **shares}]
    }


def measure_model(file: ResultsFile, model: dict[str, Any], folder: Path, device: torch.device, plan: Plan) -> None:
    """Measure one model; the cost of its clips on AWS is that of the best throughput."""
    log, bandwidth = JsonLog(sys.stderr, "standard error"), file.results["copy_bytes_per_second"]
    together = device.type == "cpu" or torch.cuda.mem_get_info(device)[1] > MEMORY_FOR_BOTH
    model["interleaved"] = together
    with ExitStack() as running:
        loaded: list[Generator] = []

        def start() -> dict[str, Any]:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            generator, fields = running.enter_context(running_engine(folder, FEW_SLOTS, eight_bit=False))
            loaded.append(generator)
            return {"start": fields}

        if file.section(model, "start", start):
            (generator,) = loaded
            few = [count for count in plan.in_flight if count <= FEW_SLOTS]
            file.section(model, "one", lambda: measure_one(generator, device, plan, bandwidth))
            file.section(model, "few", lambda: {"in_flight": [measure_throughput(generator, n, plan) for n in few]})
            for clips in sorted({1, *few}):
                file.section(model, f"steps_{clips}", partial(add_steps, model, generator, clips, plan, file.results))
            if together:
                file.section(model, "stock", lambda: measure_stock(folder, device, plan, generator))
            del generator
        del loaded[:]
    if not together:
        file.section(model, "stock", lambda: measure_stock(folder, device, plan, None))
    file.section(model, "error", lambda: {"error": logit_errors(folder, device, log, eight_bit=False)})
    if many := [count for count in plan.in_flight if count > FEW_SLOTS]:
        file.section(model, "many", lambda: measure_many(model, folder, many, plan, file.results))
    file.section(model, "int8", lambda: measure_eight_bit(folder, device, plan, bandwidth, log))
    file.section(model, "trace", lambda: {"trace": trace_steps(folder, min(20, plan.steps // 2))})
    file.section(model, "summary", lambda: summarise(model, file.results["device"]))


def measure_one(generator: Generator, device: torch.device, plan: Plan, bandwidth: float) -> dict[str, Any]:
    """Measure one clip, memory, and what share of the roofline its steps reach."""
    one, config = time_one_clip(generator, plan), generator.runner.config
    roofline = clip_seconds(config, plan.decode_steps(generator), 1, bandwidth)
    return {
        "one": one, "memory": memory_in_use(device), "weight_bytes_per_step": weight_bytes(config),
        "roofline_seconds": roofline, "roofline_share": roofline / one["decode_seconds"],
    }  # fmt: skip


def measure_many(
    model: dict[str, Any], folder: Path, many: list[int], plan: Plan, results: dict[str, Any]
) -> dict[str, Any]:
    """Measure clips per second and milliseconds per step with as many clips in flight as fit."""
    with running_engine(folder, max(many), eight_bit=False) as (generator, _):
        fit = clips_that_fit(generator, plan)
        fitting = [count for count in many if count <= fit]
        entries = [*model.get("in_flight", []), *(measure_throughput(generator, count, plan) for count in fitting)]
        found: dict[str, Any] = {"clips_that_fit": fit, "in_flight": entries, "steps": model.get("steps", [])}
        for count in fitting:
            found |= add_steps(found, generator, count, plan, results)
        return found


def summarise(model: dict[str, Any], device: str) -> dict[str, Any]:
    """Return what follows from several sections."""
    own, sample = model["one"]["clip_seconds"], model.get("stock", {}).get("sample", {}).get("clip_seconds")
    best = max([1 / own, *(entry["clips_per_second"] for entry in model.get("in_flight", []))])
    return {"times_faster_than_sample": sample / own if sample else None, "cost": costs(best, device)}


def measure_eight_bit(folder: Path, device: torch.device, plan: Plan, bandwidth: float, log: JsonLog) -> dict[str, Any]:
    """Measure one clip with 8-bit weights, and the error of their logits."""
    error = logit_errors(folder, device, log, eight_bit=True)
    with running_engine(folder, 1, eight_bit=True) as (generator, start):
        steps, config = plan.decode_steps(generator), generator.runner.config
        roofline = clip_seconds(config, steps, 1, bandwidth, eight_bit=True)
        one = time_one_clip(generator, plan)
    return {"int8": {**one, "start": start, "roofline_seconds": roofline, "error": error}}


def measure_stock(folder: Path, device: torch.device, plan: Plan, generator: Generator | None) -> dict[str, Any]:
    """Measure every stock method; with a generator, one of its clips before each of stock's."""
    between: list[float] = []

    def time_engine() -> None:
        if generator is not None:
            between.append(wall_seconds(partial(generator.generate, [plan.clip(2)])))

    found = {
        method: stock.measure(
            method, folder, device, steps=plan.stock_steps, clip_steps=plan.steps, rounds=plan.rounds,
            before_each=time_engine,
        )
        for method in plan.stock
    }  # fmt: skip
    return {"stock": found, "clip_seconds_between_stocks": between}


def memory_in_use(device: torch.device) -> dict[str, int] | None:
    """Return a GPU's peak bytes of tensors, and its bytes in use, including the CUDA context and graphs."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return {"peak_allocated_bytes": torch.cuda.max_memory_allocated(device), "device_bytes": total - free}


def earlier_models(path: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Return the models that an earlier run measured on the same device with the same versions."""
    if not path.exists():
        return {}
    earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    same = all(earlier[name] == results[name] for name in ("device", "versions"))
    return earlier["models"] if same else {}


def print_goals(results: dict[str, Any]) -> int:
    """Print goals with their figures, and failed sections; return 1 if there is one, or a goal is missed."""
    found = goals(results)
    failures = [(size, *one) for size, model in results["models"].items() for one in model.get("failed", {}).items()]
    for size, section, error in failures:
        print(f"FAILED {size}: {section}: {error}")
    for goal in found:
        print(goal)
    if not found:
        print("no goals apply to a CPU: this run only tests the harness")
    return int(bool(failures) or any(not goal.met for goal in found))


if __name__ == "__main__":
    sys.exit(main())
