"""Measure the engine on a GPU against its memory bandwidth and stock generate: `make bench-gpu`.

For each model: start-up, one clip of 30 seconds, clips per second, memory, launches per step, error of the logits,
8-bit weights, and three ways to use transformers, all on one device in one run, with random weights of the published
shapes.
Stock's clips are cut short and scaled by their steps, which flatters them: their steps grow slower as the clip grows.
Results go to a JSON file named after the device under benchmarks/results/. Goals are printed; the exit code is 1 if one
is missed.
"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.checkpoints import SIZES
from benchmarks.gpu.checkpoint import write_checkpoint
from benchmarks.gpu.device import COPIED, copy_bandwidth, facts, the_device
from benchmarks.gpu.engine_run import Plan
from benchmarks.gpu.limits import costs, goals
from benchmarks.gpu.model_run import run
from benchmarks.gpu.stock_run import WAYS
from musicgen_serving.json_log import JsonLog

RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and print; return 1 if a goal is missed."""
    options = parsed(arguments)
    device: torch.device = options.device
    plan = Plan(
        steps=options.tokens, rounds=options.rounds, in_flight=tuple(options.in_flight),
        stock=tuple(options.stock), stock_steps=options.stock_tokens,
    )  # fmt: skip
    found = facts(device)
    found["copy_bytes_per_second"] = copy_bandwidth(device, COPIED if found["kind"] == "cuda" else 2**24, 11)
    path = options.results / f"{file_name(found['device'])}.json"
    found |= {"plan": vars(plan), "models": earlier_models(path, found)}
    for size in options.models:
        found["models"][size] = measured(size, device, plan, found, options.scratch)
        write(path, found)  # keeps finished models if the next one fails
    return print_goals(found, path)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu only tests the harness")
    parser.add_argument("--models", nargs="+", choices=SIZES, default=["small", "medium", "large"])
    parser.add_argument("--tokens", type=int, default=1503, help="tokens per codebook and clip (1503: 30 seconds)")
    parser.add_argument("--stock-tokens", type=int, default=128, help="the same of stock's clips (default 128)")
    parser.add_argument("--stock", nargs="*", choices=WAYS, default=WAYS, help="which of stock's ways (default all)")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken (default 3)")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[8, 16, 32], help="clips at once")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--scratch", type=Path, help="where checkpoints of up to 7.2 GB are written for a while")
    options = parser.parse_args(arguments)
    try:
        options.device = the_device(options.device)
    except ValueError as error:
        parser.error(str(error))
    return options


def measured(
    size: str, device: torch.device, plan: Plan, found: dict[str, Any], scratch: Path | None
) -> dict[str, Any]:
    """Return one model's figures, with the cost of its clips on AWS."""
    print(f"{size} on {found['device']}", flush=True)
    log = JsonLog(sys.stderr, "standard error")
    with tempfile.TemporaryDirectory(dir=scratch) as temporary:
        folder = Path(temporary) / size
        write_checkpoint(folder, size, device)
        model = run(folder, device, plan, found["copy_bytes_per_second"], log)
    best = max([1 / model["one"]["clip_seconds"], *(entry["clips_per_second"] for entry in model["in_flight"])])
    model["copy_bytes_per_second"] = found["copy_bytes_per_second"]  # of the run that this model was measured in
    return model | {"cost": costs(best, found["device"])}


def earlier_models(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Return the models that an earlier run measured on the same device with the same versions."""
    if not path.exists():
        return {}
    earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    same = all(earlier[name] == found[name] for name in ("device", "versions"))
    return earlier["models"] if same else {}


def file_name(device: str) -> str:
    """Return a device's name as a file name."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def write(path: Path, found: dict[str, Any]) -> None:
    """Write the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def print_goals(found: dict[str, Any], path: Path) -> int:
    """Print the goals with their figures; return 1 if one is missed."""
    print(f"copies {found['copy_bytes_per_second'] / 1e9:.0f} GB/s; figures in {path}")
    judged = goals(found)
    for goal in judged:
        print(goal)
    if not judged:
        print("no goals apply to a CPU: this run only shows that the harness works")
    return int(any(not goal.met for goal in judged))


if __name__ == "__main__":
    sys.exit(main())
