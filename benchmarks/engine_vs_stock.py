"""Compare the engine with stock generate: `python -m benchmarks.engine_vs_stock --size small --steps 128 --rounds 3`.

Times are from a text to its codes, the fastest of the rounds; every round runs each method once. The last line has the
two results to compare between versions, both against generate kept warm, which makes one clip after another: the
speed-up of one clip, and of clips per second with 8 in flight.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Generator as Iterate
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from benchmarks.checkpoints import SIZES, write_checkpoint
from benchmarks.stock import TEXT, Stock
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.scheduler import Request
from musicgen_serving.json_log import JsonLog

Times = dict[str, float]  # seconds, by method


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / options.size
        write_checkpoint(folder, options.size, torch.device("cpu"))
        compare(folder, options)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="whose shapes the random weights have")
    parser.add_argument("--steps", type=int, default=128, help="tokens per codebook and clip (default 128)")
    parser.add_argument("--rounds", type=int, help="rounds of every method (default 3, or 30 for tiny)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    options = parser.parse_args()
    options.rounds = options.rounds or (30 if options.size == "tiny" else 3)
    return options


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Measure every method with the checkpoint in `folder`, and print the results."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    in_flight = [1, 4, 8] + ([16, 32] if device.type == "cuda" else [])
    log, capacity, memory = JsonLog(sys.stderr, "standard error"), Capacity(slots=max(in_flight)), PeakMemory(device)
    with memory.measure():
        generator = Generator(folder, weight_format=WeightFormat(), capacity=capacity, log=log)
    print(f"loading the engine with {capacity.slots} slots: peak +{memory.peak >> 20} MiB")
    with memory.measure():
        stock = Stock(folder, device)
    print(f"loading stock: peak +{memory.peak >> 20} MiB")
    methods: dict[str, Callable[[], None]] = {
        "stock, as the sample": partial(stock.as_the_sample, TEXT, options.steps),
        "stock, kept warm": partial(stock.warm, TEXT, options.steps),
    }
    for count in in_flight:
        methods[f"engine, {count} in flight"] = partial(generate_codes, generator, count, options.steps)
    wall, processor = measure(methods, options, memory)
    generator.close()
    if device.type == "cpu":  # less affected by other load
        print(f"by processor time: {speed_ups(processor)}")
    print(f"engine: device={device} model={options.size} {speed_ups(wall)} threads={options.threads}")


def generate_codes(generator: Generator, clips: int, steps: int) -> None:
    """Generate clips of `steps` tokens at once, without decoding their codes.

    Raises RuntimeError if they were not all in flight at once, as when memory holds fewer slots.
    """
    params, tokens = SamplingParams(max_new_tokens=steps), generator.tokenize(0, TEXT)
    requests = [Request([ClipSpec(TEXT, seed, params)], [tokens]) for seed in range(clips)]
    for request in requests:
        generator.engine.submit(request)
    for request in requests:
        request.wait()[0].cpu()
    if (most := max(request.max_in_flight for request in requests)) != clips:
        raise RuntimeError(
            f"{clips} clips must be in flight at once, got {most}; the engine holds {generator.batch.max_sequences}"
        )


def measure(
    methods: dict[str, Callable[[], None]], options: argparse.Namespace, memory: "PeakMemory"
) -> tuple[Times, Times]:
    """Return each method's fastest round in wall and processor time; print them per step, with peak memory."""
    wall: dict[str, list[float]] = {name: [] for name in methods}
    processor: dict[str, list[float]] = {name: [] for name in methods}
    peaks = dict.fromkeys(methods, 0)
    for round_index in range(options.rounds + 1):
        for name, method in methods.items():
            with memory.measure():
                started, used = time.perf_counter(), time.process_time()
                method()
                seconds, spent = time.perf_counter() - started, time.process_time() - used
            peaks[name] = max(peaks[name], memory.peak)
            if round_index:  # the first warms up
                wall[name].append(seconds)
                processor[name].append(spent)
    for name in methods:
        rounds = [f"{seconds / options.steps * 1000:.2f}" for seconds in wall[name]]
        best, spent = (min(times[name]) / options.steps * 1000 for times in (wall, processor))
        line = f"{name:22} {best:9.2f} ms/step  processor {spent:9.2f} ms/step"
        print(f"{line}  (rounds: {' '.join(rounds)})  peak +{peaks[name] >> 20} MiB")
    return {name: min(wall[name]) for name in methods}, {name: min(processor[name]) for name in methods}


def speed_ups(times: Times) -> str:
    """Return the two results of the last line."""
    warm = times["stock, kept warm"]
    single, throughput = warm / times["engine, 1 in flight"], 8 * warm / times["engine, 8 in flight"]
    return f"x_single={single:.2f} x_throughput={throughput:.2f}"


class PeakMemory:
    """The peak memory of a block of code above what was in use before it: of the GPU, or resident on the host."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self.peak = 0  # bytes, of the last block

    @contextmanager
    def measure(self) -> Iterate[None]:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM (proc(5))
            before = process_status("VmRSS")
        yield
        self.peak = max(0, (torch.cuda.max_memory_allocated() if self._cuda else process_status("VmHWM")) - before)


def process_status(name: str) -> int:
    """Return a value of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status must have {name}, got no such line")


if __name__ == "__main__":
    main()
