"""How long work takes: by the device's own clock where it has one, the median of several rounds."""

import statistics
import time
from collections.abc import Callable

import torch


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that one call takes, all that it gave the current stream included; by CUDA events on a GPU."""
    if device.type != "cuda":
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    work()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1000


def median_seconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """The median of several calls, after one that warms up."""
    work()
    return statistics.median(seconds(work, device) for _ in range(rounds))


def wall_seconds(work: Callable[[], object]) -> float:
    """Seconds by the clock, for work that ends when its result is on the host."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
