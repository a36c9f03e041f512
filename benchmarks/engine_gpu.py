"""Measure the engine on a GPU against its memory bandwidth and stock generate: `make bench-gpu`.

For each model: start-up, one clip of 30 seconds, clips per second, memory, launches per step, error of the logits,
8-bit weights, and three ways to use transformers, all on one device in one run, with random weights of the published
shapes. Stock's clips are short and scaled by their steps, which flatters them: their steps become slower as a clip
grows. Results go to a JSON file named after the device under benchmarks/results/. Goals are printed; the exit code is
1 if one is missed.
"""

import argparse
import json
import re
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import stock
from benchmarks.checkpoints import SIZES, write_checkpoint
from benchmarks.gpu.clip_times import Plan, measure_throughput, running_engine, time_one_clip
from benchmarks.gpu.device import device_info, wall_seconds
from benchmarks.gpu.logit_error import logit_errors
from benchmarks.gpu.report import RESULTS, goals
from benchmarks.gpu.roofline import clip_seconds, costs, weight_bytes
from benchmarks.gpu.step_launches import trace_steps
from musicgen_serving.engine.generator import Generator
from musicgen_serving.json_log import JsonLog

FEW_SLOTS = 8  # slots of the first engine, few enough that the stock model fits too
MEMORY_FOR_BOTH = 40e9  # bytes; on a larger device the engine's and the stock model are loaded together


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and print; return 1 if a goal is missed."""
    options = parse_options(arguments)
    device = torch.device("cuda", 0) if options.device == "cuda" else torch.device("cpu")
    plan = Plan(
        steps=options.tokens, rounds=options.rounds, in_flight=tuple(options.in_flight),
        stock=tuple(options.stock), stock_steps=options.stock_tokens,
    )  # fmt: skip
    results = device_info(device)
    path = options.results / f"{re.sub(r'[^a-z0-9]+', '-', results['device'].lower()).strip('-')}.json"
    results |= {"plan": vars(plan), "models": earlier_models(path, results)}
    for size in options.models:
        print(f"{size} on {results['device']}", flush=True)
        with tempfile.TemporaryDirectory(dir=options.scratch) as temporary:
            folder = Path(temporary) / size
            write_checkpoint(folder, size, device)
            results["models"][size] = measure_model(folder, device, plan, results)
        write_results(path, results)  # keeps finished models if the next one fails
    print(f"copies {results['copy_bytes_per_second'] / 1e9:.0f} GB/s; results in {path}")
    return print_goals(results)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu only tests the harness")
    parser.add_argument("--models", nargs="+", choices=SIZES, default=["small", "medium", "large"])
    parser.add_argument("--tokens", type=int, default=1503, help="tokens per codebook and clip (1503: 30 seconds)")
    parser.add_argument("--stock-tokens", type=int, default=128, help="the same of stock's clips (default 128)")
    parser.add_argument("--stock", nargs="*", choices=stock.METHODS, default=stock.METHODS, help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken (default 3)")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[8, 16, 32], help="clips at once")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--scratch", type=Path, help="folder for temporary checkpoints of up to 7.2 GB")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device is available; --device cpu only tests the harness")
    return options


def measure_model(folder: Path, device: torch.device, plan: Plan, results: dict[str, Any]) -> dict[str, Any]:
    """Return one model's figures; the cost of its clips on AWS is that of the best throughput."""
    log, bandwidth = JsonLog(sys.stderr, "standard error"), results["copy_bytes_per_second"]
    interleaved = device.type == "cpu" or torch.cuda.mem_get_info(device)[1] > MEMORY_FOR_BOTH
    model = measure_few_slots(folder, device, plan, bandwidth, with_stock=interleaved)
    if not interleaved:
        model |= measure_stock(folder, device, plan, None)
    own, sample = model["one"]["clip_seconds"], model["stock"].get("sample", {}).get("clip_seconds")
    model |= {"interleaved": interleaved, "times_faster_than_sample": sample / own if sample else None}
    model["error"] = logit_errors(folder, device, log, eight_bit=False)
    if many := [count for count in plan.in_flight if count > FEW_SLOTS]:
        with running_engine(folder, max(many), eight_bit=False) as (generator, start):
            model["slots_that_fit"] = start["slots"]
            fitting = [count for count in many if count <= start["slots"]]
            model["in_flight"] += [measure_throughput(generator, count, plan) for count in fitting]
        del generator  # frees its memory
    error = logit_errors(folder, device, log, eight_bit=True)
    model["int8"] = {**measure_eight_bit(folder, plan, bandwidth), "error": error}
    model["trace"] = trace_steps(folder, min(20, plan.steps // 2))
    model["copy_bytes_per_second"] = bandwidth  # of the run in which this model was measured
    best = max([1 / own, *(entry["clips_per_second"] for entry in model["in_flight"])])
    return model | {"cost": costs(best, results["device"])}


def measure_few_slots(
    folder: Path, device: torch.device, plan: Plan, bandwidth: float, *, with_stock: bool
) -> dict[str, Any]:
    """Measure start-up, few clips in flight, one clip, memory, and stock's methods while the engine is loaded."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with running_engine(folder, FEW_SLOTS, eight_bit=False) as (generator, start):
        few = [measure_throughput(generator, count, plan) for count in plan.in_flight if count <= FEW_SLOTS]
        one, config = time_one_clip(generator, plan), generator.runner.config
        roofline = clip_seconds(config, plan.decode_steps(generator), 1, bandwidth)
        model = {
            "start": start, "one": one, "in_flight": few, "memory": memory_in_use(device),
            "weight_bytes_per_step": weight_bytes(config), "roofline_seconds": roofline,
            "roofline_share": roofline / one["decode_seconds"],
        }  # fmt: skip
        return model | (measure_stock(folder, device, plan, generator) if with_stock else {})


def measure_eight_bit(folder: Path, plan: Plan, bandwidth: float) -> dict[str, Any]:
    """Measure one clip with 8-bit weights."""
    with running_engine(folder, 1, eight_bit=True) as (generator, start):
        steps, config = plan.decode_steps(generator), generator.runner.config
        roofline = clip_seconds(config, steps, 1, bandwidth, eight_bit=True)
        return {**time_one_clip(generator, plan), "start": start, "roofline_seconds": roofline}


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


def write_results(path: Path, results: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def print_goals(results: dict[str, Any]) -> int:
    """Print the goals with their figures; return 1 if one is missed."""
    found = goals(results)
    for goal in found:
        print(goal)
    if not found:
        print("no goals apply to a CPU: this run only tests the harness")
    return int(any(not goal.met for goal in found))


if __name__ == "__main__":
    sys.exit(main())
