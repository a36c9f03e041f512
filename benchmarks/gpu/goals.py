"""What the engine is to reach on an H100, and on another GPU by its bandwidth beside an H100's."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from typing import Any

from benchmarks.gpu.device import NOMINAL


@dataclass(frozen=True)
class Goal:
    """A figure beside what it is to be: at most, or at least."""

    name: str
    got: float
    wanted: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether it is; what could not be measured (NaN) is not."""
        return self.got <= self.wanted if self.at_most else self.got >= self.wanted

    def __str__(self) -> str:
        bound = "at most" if self.at_most else "at least"
        return f"{'met  ' if self.met else 'BELOW'} {self.name}: {bound} {self.wanted:.4g}, got {self.got:.4g}"


ROOFLINE_SHARES = {"large": 0.8, "medium": 0.6, "small": 0.4}


def goals(results: dict[str, Any]) -> list[Goal]:
    """Every goal that the measured models have; none on a CPU, which says nothing of a GPU."""
    if results["kind"] != "cuda":
        return []
    slower = NOMINAL["H100"] / (results["nominal_bytes_per_second"] or results["copy_bytes_per_second"])
    found: list[Goal] = []
    for size, model in results["models"].items():
        found += of_any(size, model)
        if size == "large":
            found += of_large(model, slower)
    return found


def of_any(size: str, model: dict[str, Any]) -> Iterator[Goal]:
    """What holds for every model."""
    start, trace = model["start"], model["trace"]
    if size in ROOFLINE_SHARES:
        yield Goal(f"{size}: share of the roofline", model["roofline_share"], ROOFLINE_SHARES[size], False)
    yield Goal(f"{size}: error of float16 logits", model["error"]["both_rows"], 1e-2, True)
    yield Goal(f"{size}: seconds to record graphs", start["graph_seconds"], 10, True)
    yield Goal(f"{size}: gigabytes per second read", start["gigabytes_per_second"], 2, False)
    for at_most in (False, True):  # none would be a trace that saw nothing
        yield Goal(f"{size}: graph launches per step", counted(trace, "graph_launches"), 1, at_most)
    for name in ("other_kernels", "copies", "waits"):
        yield Goal(f"{size}: {name.replace('_', ' ')} per step", counted(trace, name), 0, True)


def counted(trace: dict[str, Any], name: str) -> float:
    """A trace's figure; NaN where there is no trace, or the device cannot be traced."""
    figure = trace.get(name)
    return nan if figure is None else figure


def of_large(model: dict[str, Any], slower: float) -> Iterator[Goal]:
    """What only large is held to."""
    yield Goal("large: seconds per clip", model["one"]["clip_seconds"], 3.9 * slower, True)
    if model["times_faster_than_sample"]:
        yield Goal("large: times faster than the sample's way", model["times_faster_than_sample"], 12, False)
    for entry in model["in_flight"]:
        if entry["in_flight"] == 32:
            yield Goal("large: clips per second, 32 in flight", entry["clips_per_second"], 2.1 / slower, False)
    yield Goal("large: int8 seconds of decoding", model["int8"]["decode_seconds"], model["roofline_seconds"], True)
    yield Goal("large: bytes of memory at 8 slots", model["memory"]["device_bytes"], 22e9, True)
