"""What a clip costs at best: the roofline of memory bandwidth, the price on AWS, and the goals set from both."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from benchmarks.gpu.device import NOMINAL, nominal
from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.step.kv_cache import ROWS

HALF = 2  # bytes of a float16


def weight_bytes(config: DecoderConfig, *, eight_bit: bool = False) -> int:
    """Return the bytes of weights that a step reads for any number of clips: layers and heads.

    Excludes the embeddings, of which it reads a few rows, and the projection that is applied once to a text.
    """
    hidden, ffn = config.hidden, config.ffn
    matrices = 6 * hidden * hidden + 2 * hidden * ffn  # qkv, out, cross query, cross out; in and out
    outputs = 3 * hidden + hidden + hidden + hidden + ffn + hidden  # one scale each, where they are of 8 bits
    layer = matrices + 4 * outputs if eight_bit else HALF * matrices
    norms = 3 * 2 * hidden * HALF
    heads = config.codebooks * config.vocabulary * hidden * HALF
    return config.layers * (layer + norms) + 2 * hidden * HALF + heads


def cache_bytes(config: DecoderConfig, positions: int) -> int:
    """Return the bytes of one clip's KV cache, both rows, at `positions` positions."""
    return ROWS * 2 * config.layers * config.hidden * positions * HALF


def clip_bytes(config: DecoderConfig, steps: int, clips: int, *, eight_bit: bool = False) -> float:
    """Return the bytes that all steps of `clips` clips read: weights each time, and the growing KV caches."""
    mean = cache_bytes(config, 1) * (steps + 1) / 2
    return steps * (weight_bytes(config, eight_bit=eight_bit) + clips * mean)


def clip_seconds(config: DecoderConfig, steps: int, clips: int, bandwidth: float, *, eight_bit: bool = False) -> float:
    """Return the seconds for `clips` clips at once if only reading took time."""
    return clip_bytes(config, steps, clips, eight_bit=eight_bit) / bandwidth


INFRA = Path(__file__).parents[2] / "infra"


def table(name: str) -> dict[str, Any]:
    """Read one of the stack's tables."""
    return json.loads((INFRA / f"{name}.json").read_text(encoding="utf-8"))


def costs(clips_per_second: float, measured_on: str) -> dict[str, Any]:
    """Estimate dollars for a clip on each priced type, if its GPU reaches the same share of nominal bandwidth.

    Steps are bound by memory, so time scales with bandwidth; a smaller card that is bound by anything else, or holds
    fewer clips at once, is slower than this.
    """
    own = nominal(measured_on)
    if own is None:
        return {"failed": f"the nominal bandwidth of {measured_on} must be known (benchmarks/gpu/device.py), got none"}
    prices, types = table("prices"), table("instances")["types"]
    found: dict[str, Any] = {}
    for name, price in prices["usd_per_hour"].items():
        other = nominal(types[name]["gpu"])
        if other is not None:
            rate = clips_per_second * other / own
            found[name] = {"clips_per_second": rate, "usd_per_clip": price / 3600 / rate}
    return {"estimate": True, "prices_as_of": prices["as_of"], "region": prices["region"], "types": found}


@dataclass(frozen=True)
class Goal:
    """A figure and its bound: at most, or at least."""

    name: str
    got: float
    wanted: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Return whether the figure is within its bound; NaN is not."""
        return self.got <= self.wanted if self.at_most else self.got >= self.wanted

    def __str__(self) -> str:
        bound = "at most" if self.at_most else "at least"
        return f"{'met  ' if self.met else 'BELOW'} {self.name}: {bound} {self.wanted:.4g}, got {self.got:.4g}"


ROOFLINE_SHARES = {"large": 0.8, "medium": 0.6, "small": 0.4}


def goals(results: dict[str, Any]) -> list[Goal]:
    """Return every goal of the measured models; none on a CPU."""
    if results["kind"] != "cuda":
        return []
    slower = NOMINAL["H100"] / (results["nominal_bytes_per_second"] or results["copy_bytes_per_second"])
    found: list[Goal] = []
    for size, model in results["models"].items():
        found += goals_of_any(size, model)
        if size == "large":
            found += goals_of_large(model, slower)
    return found


def goals_of_any(size: str, model: dict[str, Any]) -> Iterator[Goal]:
    """Yield the goals of every model."""
    start, trace = model["start"], model["trace"]
    if size in ROOFLINE_SHARES:
        yield Goal(f"{size}: share of the roofline", model["roofline_share"], ROOFLINE_SHARES[size], False)
    yield Goal(f"{size}: error of float16 logits", model["error"]["both_rows"], 1e-2, True)
    yield Goal(f"{size}: seconds to record graphs", start["graph_seconds"], 10, True)
    yield Goal(f"{size}: gigabytes per second read", start["gigabytes_per_second"], 2, False)
    for at_most in (False, True):  # zero would mean that the trace saw nothing
        yield Goal(f"{size}: graph launches per step", counted(trace, "graph_launches"), 1, at_most)
    for name in ("other_kernels", "copies", "waits"):
        yield Goal(f"{size}: {name.replace('_', ' ')} per step", counted(trace, name), 0, True)


def counted(trace: dict[str, Any], name: str) -> float:
    """Return a trace's figure; NaN if there is no trace."""
    figure = trace.get(name)
    return nan if figure is None else figure


def goals_of_large(model: dict[str, Any], slower: float) -> Iterator[Goal]:
    """Yield the goals of large alone."""
    yield Goal("large: seconds per clip", model["one"]["clip_seconds"], 3.9 * slower, True)
    if model["times_faster_than_sample"]:
        yield Goal("large: times faster than the sample's way", model["times_faster_than_sample"], 12, False)
    for entry in model["in_flight"]:
        if entry["in_flight"] == 32:
            yield Goal("large: clips per second, 32 in flight", entry["clips_per_second"], 2.1 / slower, False)
    yield Goal("large: int8 seconds of decoding", model["int8"]["decode_seconds"], model["roofline_seconds"], True)
    yield Goal("large: bytes of memory at 8 slots", model["memory"]["device_bytes"], 22e9, True)
