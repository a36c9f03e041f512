"""The engine against stock generate: `python -m benchmarks.engine --size small --steps 128 --rounds 3`.

Times are of the way from a text to its codes, the fastest of the rounds, the ways taking turns in every round. The last
line has the two figures to keep: how much faster one clip is made, and how many times the clips per second with 8 in
flight, both against generate kept warm, which makes one clip after another.
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
from musicgen_serving.engine.clip import Clip, Ticket
from musicgen_serving.generation import Capacity, Generator
from musicgen_serving.json_log import JsonLog
from musicgen_serving.parameters import GenerationParams

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
    log, capacity = JsonLog(sys.stderr, "standard error"), Capacity(slots=max(in_flight))
    generator = Generator(folder, decoder_dtype="float16", capacity=capacity, log=log)
    ways = the_ways(Stock(folder, device), generator, in_flight, options.steps)
    times = measured(ways, options.rounds, options.steps, PeakMemory(device))
    generator.close()
    warm = times["stock, kept warm"]
    single, throughput = warm / times["engine, 1 in flight"], 8 * warm / times["engine, 8 in flight"]
    print(
        f"engine: device={device} model={options.size} x_single={single:.2f} x_throughput={throughput:.2f} "
        f"threads={options.threads}"
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="whose shapes the random weights have")
    parser.add_argument("--steps", type=int, default=128, help="tokens per codebook and clip (default 128)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is timed (default 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    return parser.parse_args()


def the_ways(stock: Stock, generator: Generator, in_flight: list[int], steps: int) -> dict[str, Callable[[], None]]:
    """What is measured: each makes its clips of `steps` tokens."""

    def engine(count: int) -> Callable[[], None]:
        def make() -> None:
            params = GenerationParams(max_new_tokens=steps)
            tokens = generator.tokens(0, TEXT)
            tickets = [Ticket([Clip(TEXT, seed, params)], [tokens]) for seed in range(count)]
            for ticket in tickets:
                generator.engine.submit(ticket)
            for ticket in tickets:
                ticket.wait()[0].cpu()

        return make

    return {
        "stock, as the sample": lambda: stock.as_the_sample(TEXT, steps),
        "stock, kept warm": lambda: stock.warm(TEXT, steps),
        **{f"engine, {count} in flight": engine(count) for count in in_flight},
    }


def measured(ways: dict[str, Callable[[], None]], rounds: int, steps: int, memory: PeakMemory) -> dict[str, float]:
    """Seconds of each way's fastest round, printed as milliseconds a step with the memory that it took in passing."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    peaks = dict.fromkeys(ways, 0)
    for round_index in range(rounds + 1):
        for name, way in ways.items():
            with memory:
                started = time.perf_counter()
                way()
                seconds = time.perf_counter() - started
            peaks[name] = max(peaks[name], memory.taken)
            if round_index:  # the first warms up
                times[name].append(seconds)
    for name, all_seconds in times.items():
        per_step = [seconds / steps * 1000 for seconds in all_seconds]
        spread = " ".join(f"{one:.2f}" for one in per_step)
        print(f"{name:22} {min(per_step):9.2f} ms/step  (rounds: {spread})  peak +{peaks[name] >> 20} MiB")
    return {name: min(all_seconds) for name, all_seconds in times.items()}


if __name__ == "__main__":
    main()
