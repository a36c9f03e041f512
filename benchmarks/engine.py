"""Compare the engine with stock generate: `python -m benchmarks.engine --size small --steps 128 --rounds 3`.

Times are from a text to its codes, the fastest of the rounds; every round runs each method once. The last line has the
two figures to keep, both against generate kept warm, which makes one clip after another: the speed-up of one clip, and
of clips per second with 8 in flight.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.checkpoints import SIZES, make_checkpoint
from benchmarks.peak_memory import PeakMemory
from benchmarks.stock import Stock
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.scheduler import Request
from musicgen_serving.json_log import JsonLog

Ways = dict[str, Callable[[], None]]  # what is measured, by name
Times = dict[str, float]  # seconds, by the same names
TEXT = "80s pop track with bassy drums and synth"


def main() -> None:
    """Make the weights, measure and print."""
    options = parsed()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / options.size
        make_checkpoint(folder, options.size)
        compare(folder, options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Measure the checkpoint in `folder` in every way and print."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    in_flight = [1, 4, 8] + ([16, 32] if device.type == "cuda" else [])
    log, capacity, memory = JsonLog(sys.stderr, "standard error"), Capacity(slots=max(in_flight)), PeakMemory(device)
    with memory:
        generator = Generator(folder, weight_format=WeightFormat(), capacity=capacity, log=log)
    print(f"loading the engine with {capacity.slots} slots: peak +{memory.taken >> 20} MiB")
    with memory:
        stock = Stock(folder, device)
    print(f"loading stock: peak +{memory.taken >> 20} MiB")
    wall, processor = measured(the_ways(stock, generator, in_flight, options.steps), options, memory)
    generator.close()
    if device.type == "cpu":  # less affected by other load
        print(f"by processor time: {gains(processor)}")
    print(f"engine: device={device} model={options.size} {gains(wall)} threads={options.threads}")


def gains(times: Times) -> str:
    """Return the two figures to keep."""
    warm = times["stock, kept warm"]
    single, throughput = warm / times["engine, 1 in flight"], 8 * warm / times["engine, 8 in flight"]
    return f"x_single={single:.2f} x_throughput={throughput:.2f}"


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="whose shapes the random weights have")
    parser.add_argument("--steps", type=int, default=128, help="tokens per codebook and clip (default 128)")
    parser.add_argument("--rounds", type=int, help="how often each way is timed (default 3, or 30 for tiny)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    options = parser.parse_args()
    options.rounds = options.rounds or (30 if options.size == "tiny" else 3)
    return options


def the_ways(stock: Stock, generator: Generator, in_flight: list[int], steps: int) -> Ways:
    """What is measured: each makes its clips of `steps` tokens."""

    def engine(count: int) -> Callable[[], None]:
        def make() -> None:
            params = SamplingParams(max_new_tokens=steps)
            tokens = generator.tokenize(0, TEXT)
            requests = [Request([ClipSpec(TEXT, seed, params)], [tokens]) for seed in range(count)]
            for request in requests:
                generator.engine.submit(request)
            for request in requests:
                request.wait()[0].cpu()

        return make

    return {
        "stock, as the sample": lambda: stock.as_the_sample(TEXT, steps),
        "stock, kept warm": lambda: stock.warm(TEXT, steps),
        **{f"engine, {count} in flight": engine(count) for count in in_flight},
    }


def measured(ways: Ways, options: argparse.Namespace, memory: PeakMemory) -> tuple[Times, Times]:
    """Seconds of each way's fastest round, by the clock and of the processor; printed a step, with passing memory."""
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    peaks = dict.fromkeys(ways, 0)
    for round_index in range(options.rounds + 1):
        for name, way in ways.items():
            with memory:
                started, used = time.perf_counter(), time.process_time()
                way()
                seconds, spent = time.perf_counter() - started, time.process_time() - used
            peaks[name] = max(peaks[name], memory.taken)
            if round_index:  # the first warms up
                wall[name].append(seconds)
                processor[name].append(spent)
    for name in ways:
        rounds = [f"{seconds / options.steps * 1000:.2f}" for seconds in wall[name]]
        best, spent = (min(times[name]) / options.steps * 1000 for times in (wall, processor))
        line = f"{name:22} {best:9.2f} ms/step  processor {spent:9.2f} ms/step"
        print(f"{line}  (rounds: {' '.join(rounds)})  peak +{peaks[name] >> 20} MiB")
    return {name: min(wall[name]) for name in ways}, {name: min(processor[name]) for name in ways}


if __name__ == "__main__":
    main()
