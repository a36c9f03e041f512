"""The measured device: its name, its memory bandwidth, and timing by its own clock."""

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

NOMINAL = {
    "H200": 4800e9, "H100 NVL": 3900e9, "H100 PCIe": 2000e9, "H100": 3350e9, "A100-SXM4-80GB": 2039e9,
    "A100 80GB PCIe": 1935e9, "A100": 1555e9, "L40S": 864e9, "A10G": 600e9, "L4": 300e9,
}  # fmt: skip
"""Memory bandwidth in bytes per second, from NVIDIA's data sheets; the first name that the device's own contains."""

COPIED = 2 * 2**30  # bytes: far beyond any cache


def the_device(name: str) -> torch.device:
    """Return the device `cuda` or `cpu`; raise ValueError if there is no GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("a CUDA device is needed, got none; --device cpu only tests the harness")
    return torch.device("cuda", 0) if name == "cuda" else torch.device("cpu")


def facts(device: torch.device) -> dict[str, Any]:
    """Return the device's name, its nominal bandwidth if known, and package versions."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine()
    return {
        "device": name,
        "kind": device.type,
        "memory_bytes": torch.cuda.mem_get_info(device)[1] if on_gpu else None,
        "nominal_bytes_per_second": nominal(name),
        "versions": {one: version(one) for one in ("torch", "triton", "transformers")},
        "cuda": torch.version.cuda,
    }


def nominal(name: str) -> float | None:
    """Return a device's memory bandwidth by its data sheet, or None."""
    return next((speed for part, speed in NOMINAL.items() if part in name), None)


def version(package: str) -> str | None:
    """Return a package's installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def copy_bandwidth(device: torch.device, size: int, rounds: int) -> float:
    """Bytes per second, read and written, of copying `size` random bytes within the device's memory."""
    source = torch.empty(size // 2, device=device, dtype=torch.float16).normal_()
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source), device, rounds)


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
