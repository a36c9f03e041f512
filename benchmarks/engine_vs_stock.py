"""Compare the engine with stock generate: `python -m benchmarks.engine_vs_stock --size small --steps 128 --rounds 3`.

Times are from a text to its codes, the fastest of the rounds; every round runs each method once. On a CPU the engine
runs with weights in 32, 16 and 8 bits, each with its logits' error and the share of the memory's read bandwidth, which
is measured between the methods. The last lines have the two results to compare between versions, both against generate
kept warm in float32, which makes one clip after another: the speed-up of one clip, and of clips per second with 8 in
flight.
"""

import argparse
import platform
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from collections.abc import Generator as Iterate
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from benchmarks.checkpoints import SIZES, write_checkpoint
from benchmarks.gpu.logit_error import POSITIONS, random_inputs, read_decoder, relative_error, torch_logits
from benchmarks.stock import TEXT, Stock
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.model.cpu_matrices import Float16Matrix, Int8Matrix, cpu_packing
from musicgen_serving.engine.model.memory import ROWS
from musicgen_serving.engine.model.quantisation import Matrix, linear
from musicgen_serving.engine.model.weights import WeightFiles, load_decoder
from musicgen_serving.engine.request import Request
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
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
    parser.add_argument(
        "--weights", nargs="+", choices=("float32", "float16", "int8"), help="a CPU's formats (default all)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    options = parser.parse_args()
    options.rounds = options.rounds or (30 if options.size == "tiny" else 3)
    return options


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Measure every method with the checkpoint in `folder`, and print the results."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_cpu = device.type == "cpu"
    in_flight = [1, 4, 8] + ([] if on_cpu else [16, 32])
    log, capacity, memory = JsonLog(sys.stderr, "standard error"), Capacity(slots=max(in_flight)), PeakMemory(device)
    generators: dict[str, Generator] = {}
    for name in options.weights or (["float32", "float16", "int8"] if on_cpu else ["float16"]):
        weight_format = WeightFormat(dtype="float16" if name == "int8" else name, eight_bit=name == "int8")
        with memory.measure():
            generators[name] = Generator(folder, weight_format=weight_format, capacity=capacity, log=log)
        print(f"loading the engine with {name} weights and {capacity.slots} slots: peak +{memory.peak >> 20} MiB")
    with memory.measure():
        stock = Stock(folder, device)
    print(f"loading stock: peak +{memory.peak >> 20} MiB")
    methods: dict[str, Callable[[], None]] = {
        "stock, as the sample": partial(stock.as_the_sample, TEXT, options.steps),
        "stock, kept warm": partial(stock.warm, TEXT, options.steps),
    }
    for name, generator in generators.items():
        for count in in_flight:
            methods[f"{name}, {count} in flight"] = partial(generate_codes, generator, count, options.steps)
    if on_cpu:
        methods["read memory"] = ReadMemory()
    wall, processor = measure(methods, options, memory)
    for generator in generators.values():
        generator.close()
    if on_cpu:
        bandwidth = ReadMemory.nbytes / wall["read memory"]
        print(f"{processor_name()}, {options.threads} threads: memory read at {bandwidth / 1e9:.1f} GB/s")
        for name, generator in generators.items():
            report_weights(folder, name, generator, wall[f"{name}, 1 in flight"] / options.steps, bandwidth, log)
        for name in generators:  # less affected by other load
            print(f"by processor time: weights={name} {speed_ups(processor, name)}")
    for name in generators:
        head = f"engine: device={device} model={options.size} weights={name}"
        print(f"{head} {speed_ups(wall, name)} threads={options.threads}")


def report_weights(
    folder: Path, name: str, generator: Generator, step_seconds: float, bandwidth: float, log: JsonLog
) -> None:
    """Print a format's error of logits, and the share of the read bandwidth: of the products alone, and of a step."""
    weights = generator.runner.weights
    matrices = [
        getattr(layer, field) for layer in weights.layers for field in
        ("qkv", "self_out", "cross_q", "cross_out", "ffn_in", "ffn_out")
    ]  # fmt: skip
    nbytes = matrix_bytes([*matrices, weights.heads])
    inputs = [torch.randn(ROWS, matrix.shape[1]) for matrix in matrices]
    head_input = torch.randn(ROWS, weights.heads.shape[1])

    def products() -> None:
        for x, matrix in zip([*inputs, head_input], [*matrices, weights.heads], strict=True):
            linear(x, matrix)

    fastest = min(timeit.repeat(products, number=1, repeat=7))
    error = packed_logit_error(folder, name, log)
    print(
        f"{name}: reads {nbytes / 1e6:.0f} MB per step; products of one clip at {nbytes / fastest / bandwidth:.0%} of "
        f"that bandwidth ({fastest * 1e3:.1f} ms), the whole step at {nbytes / step_seconds / bandwidth:.0%} "
        f"({step_seconds * 1e3:.1f} ms); relative error of logits {error:.1e}"
    )


def matrix_bytes(matrices: list[Matrix]) -> int:
    """Return the bytes of the weights that products read."""

    def element_bytes(matrix: Matrix) -> int:
        return 1 if isinstance(matrix, Int8Matrix) else 2 if isinstance(matrix, Float16Matrix) else 4

    return sum(matrix.shape.numel() * element_bytes(matrix) for matrix in matrices)


def packed_logit_error(folder: Path, name: str, log: JsonLog) -> float:
    """Return the relative error of logits with packed weights, before guidance, against plain float32."""
    cpu = torch.device("cpu")
    inputs = random_inputs(folder, cpu)
    config, _ = plain = read_decoder(folder, cpu, torch.float32, eight_bit=False)
    expected = torch_logits(plain, *inputs)
    del plain
    with WeightFiles(folder) as files:
        packed = load_decoder(files, config, cpu, torch.float32, POSITIONS, cpu_packing(name, log)[1])
    return relative_error(torch_logits((config, packed), *inputs), expected)


class ReadMemory:
    """Read memory that no cache holds, by summing float32: the fastest reading that torch has on one thread."""

    nbytes = 2**29

    def __init__(self) -> None:
        self._values = torch.rand(self.nbytes // 4)

    def __call__(self) -> None:
        self._values.sum()


def processor_name() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def generate_codes(generator: Generator, clips: int, steps: int) -> None:
    """Generate clips of `steps` tokens at once, without decoding their codes.

    Raises RuntimeError if they were not all in flight at once, as when memory holds fewer slots.
    """
    params, tokens = SamplingParams(max_new_tokens=steps), generator.tokenize(0, TEXT)
    requests = [Request([ClipSpec(TEXT, seed, params)], [[tokens]]) for seed in range(clips)]
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
        line = f"{name:24} {best:9.2f} ms/step  processor {spent:9.2f} ms/step"
        print(f"{line}  (rounds: {' '.join(rounds)})  peak +{peaks[name] >> 20} MiB")
    return {name: min(wall[name]) for name in methods}, {name: min(processor[name]) for name in methods}


def speed_ups(times: Times, weights: str) -> str:
    """Return the two results of the last line."""
    warm = times["stock, kept warm"]
    single, throughput = warm / times[f"{weights}, 1 in flight"], 8 * warm / times[f"{weights}, 8 in flight"]
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
