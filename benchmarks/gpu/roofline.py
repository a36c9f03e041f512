"""The least time that a clip can take, bound by memory bandwidth, and the price of a clip on AWS."""

import json
from pathlib import Path
from typing import Any

from musicgen_serving.engine.model.config import DecoderConfig
from musicgen_serving.engine.model.memory import ROWS, prefix_positions

NOMINAL_BANDWIDTH = {
    "H200": 4800e9, "H100 NVL": 3900e9, "H100 PCIe": 2000e9, "H100": 3350e9, "A100-SXM4-80GB": 2039e9,
    "A100 80GB PCIe": 1935e9, "A100": 1555e9, "L40S": 864e9, "A10G": 600e9, "L4": 300e9,
}  # fmt: skip
"""Bytes per second by NVIDIA's data sheets; of the keys, the first that a device's name contains applies."""

HALF = 2  # bytes of a float16
TEXT_TOKENS = 128  # of a text that a melody model reads before a clip
INFRA_CONFIG = Path(__file__).parents[2] / "infra" / "config"


def nominal_bandwidth(device_name: str) -> float | None:
    """Return a device's memory bandwidth by its data sheet, or None if unknown."""
    return next((speed for part, speed in NOMINAL_BANDWIDTH.items() if part in device_name), None)


def weight_bytes(config: DecoderConfig, *, eight_bit: bool = False) -> int:
    """Return the bytes of weights that a step reads for any number of clips: layers and heads.

    Excludes the embeddings, of which it reads a few rows, and the projection that is applied once to a text.
    """
    hidden, ffn = config.hidden, config.ffn
    squares = 4 if config.melody else 6  # qkv and out; cross query and cross out
    matrices = squares * hidden * hidden + 2 * hidden * ffn  # and in and out
    outputs = squares * hidden + ffn + hidden  # one scale each if quantised
    layer = matrices + 4 * outputs if eight_bit else HALF * matrices
    norms = (2 if config.melody else 3) * 2 * hidden * HALF
    heads = config.codebooks * config.vocabulary * hidden * HALF
    return config.layers * (layer + norms) + 2 * hidden * HALF + heads


def cache_bytes(config: DecoderConfig, positions: int) -> int:
    """Return the bytes of one clip's KV cache, both rows, at `positions` positions."""
    return ROWS * 2 * config.layers * config.hidden * positions * HALF


def clip_seconds(config: DecoderConfig, steps: int, clips: int, bandwidth: float, *, eight_bit: bool = False) -> float:
    """Return the seconds in which a device reads the weights and growing KV caches of all steps of `clips` clips."""
    prefix = prefix_positions(config, TEXT_TOKENS)
    mean_cache = cache_bytes(config, 1) * (prefix + (steps + 1) / 2)
    return steps * (weight_bytes(config, eight_bit=eight_bit) + clips * mean_cache) / bandwidth


def step_bytes(config: DecoderConfig, position: int, clips: int, *, eight_bit: bool = False) -> int:
    """Return the bytes that a step of `clips` clips at `position` reads, without their texts."""
    return weight_bytes(config, eight_bit=eight_bit) + clips * cache_bytes(config, position + 1)


def infra_table(name: str) -> dict[str, Any]:
    """Read one of the stack's JSON tables."""
    return json.loads((INFRA_CONFIG / f"{name}.json").read_text(encoding="utf-8"))


def costs(clips_per_second: float, measured_on: str) -> dict[str, Any]:
    """Estimate dollars per clip on each priced instance type, if its GPU reaches the same share of nominal bandwidth.

    Steps are bound by memory, so time scales with bandwidth; a smaller card that is bound by anything else, or holds
    fewer clips at once, is slower than this.
    """
    own = nominal_bandwidth(measured_on)
    if own is None:
        return {"failed": f"the nominal bandwidth of {measured_on} is unknown; add it to benchmarks/gpu/roofline.py"}
    prices, types = infra_table("prices"), infra_table("instances")["types"]
    found: dict[str, Any] = {}
    for name, facts in types.items():
        if "gpu" in facts and (other := nominal_bandwidth(facts["gpu"])):
            rate = clips_per_second * other / own
            found[name] = {"clips_per_second": rate, "usd_per_clip": prices["usd_per_hour"][name] / 3600 / rate}
    return {"estimate": True, "prices_as_of": prices["as_of"], "region": prices["region"], "types": found}
