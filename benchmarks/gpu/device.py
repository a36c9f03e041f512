"""The measured device: its name, versions, bandwidths, and timers."""

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.roofline import nominal_bandwidth

PACKAGES = ("torch", "transformers", "triton")


def device_info(device: torch.device) -> dict[str, Any]:
    """Return the device's name, nominal bandwidth if known, measured bandwidths, and package versions."""
    on_gpu = device.type == "cuda"
    size = 2**31 if on_gpu else 2**24  # on a GPU, far beyond any cache
    name = torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine()
    return {
        "device": name,
        "kind": device.type,
        "memory_bytes": torch.cuda.mem_get_info(device)[1] if on_gpu else None,
        "nominal_bytes_per_second": nominal_bandwidth(name),
        "copy_bytes_per_second": copy_bandwidth(device, size),
        "read_bytes_per_second": read_bandwidth(device, size),
        "versions": {one.name: one.version for one in importlib.metadata.distributions() if one.name in PACKAGES},
        "cuda": torch.version.cuda,
    }


def copy_bandwidth(device: torch.device, size: int) -> float:
    """Return the bytes per second, read and written, of copying `size` random bytes within the device."""
    source = torch.empty(size // 2, device=device, dtype=torch.float16).normal_()
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source), device, 11)


def read_bandwidth(device: torch.device, size: int) -> float:
    """Return the bytes per second of summing `size` bytes of random numbers: a step reads and hardly writes.

    Reading alone is some 8 to 10 % faster than copying, so the copy's roofline flatters.
    """
    source = torch.empty(size // 4, device=device).normal_()
    total = torch.empty((), device=device)
    return source.nbytes / median_seconds(lambda: torch.sum(source, dim=0, out=total), device, 11)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call and of all that it queues on the current stream; by CUDA events on a GPU."""
    if device.type != "cuda":
        return wall_seconds(work)
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    work()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1000


def median_seconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Return the median of several calls, after one that warms up."""
    work()
    return statistics.median(seconds(work, device) for _ in range(rounds))


def wall_seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call, for work whose result is on the host when it returns."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
