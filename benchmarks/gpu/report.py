"""Judge GPU results by goals, and fill their block in docs/engine.md: `python -m benchmarks.gpu.report`."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from benchmarks.gpu.roofline import NOMINAL_BANDWIDTH

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "engine.md"
ROOFLINE_SHARES = {"large": 0.8, "medium": 0.6, "small": 0.4}
_PER_STEP = {"graph_launches": 1, "other_kernels": 2, "copies": 0, "waits": 0}  # torch 2.6 launches 2 before a graph
_BLOCK = re.compile(r"(<!-- generated: gpu results -->\n).*?(<!-- end -->\n)", re.DOTALL)
_COLUMNS = (
    "model", "clip", "roofline", "share", "8 / 16 / 32 in flight", "8-bit clip", "sample's clip", "float16", "compiled",
    "error", "8-bit error", "GB at 8 slots", "read", "graphs",
)  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """A figure and its bound."""

    name: str
    got: float
    wanted: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether the figure is within its bound; NaN is not."""
        return self.got <= self.wanted if self.at_most else self.got >= self.wanted

    def __str__(self) -> str:
        bound = "at most" if self.at_most else "at least"
        return f"{'met   ' if self.met else 'MISSED'} {self.name}: {bound} {self.wanted:.4g}, got {self.got:.4g}"


def goals(results: dict[str, Any]) -> list[Goal]:
    """Return every goal of the measured models; none on a CPU."""
    if results["kind"] != "cuda":
        return []
    slower = NOMINAL_BANDWIDTH["H100"] / (results["nominal_bytes_per_second"] or results["copy_bytes_per_second"])
    found: list[Goal] = []
    for size, model in results["models"].items():
        found += _goals_of_every_model(size, model)
        if size == "large":
            found += _goals_of_large(model, slower)
    return found


def _goals_of_every_model(size: str, model: dict[str, Any]) -> Iterator[Goal]:
    start, trace = model["start"], model["trace"]
    if size in ROOFLINE_SHARES:
        yield Goal(f"{size}: share of the roofline", model["roofline_share"], ROOFLINE_SHARES[size], False)
    yield Goal(f"{size}: error of float16 logits", model["error"]["both_rows"], 1e-2, True)
    yield Goal(f"{size}: seconds to record graphs", start["graph_seconds"], 10, True)
    yield Goal(f"{size}: gigabytes per second read", start["gigabytes_per_second"], 2, False)
    traced = {name: nan if trace.get(name) is None else trace[name] for name in _PER_STEP}
    yield Goal(f"{size}: graph launches per step", traced["graph_launches"], 1, False)  # or the trace saw nothing
    for name, wanted in _PER_STEP.items():
        yield Goal(f"{size}: {name.replace('_', ' ')} per step", traced[name], wanted, True)


def _goals_of_large(model: dict[str, Any], slower: float) -> Iterator[Goal]:
    yield Goal("large: seconds per clip", model["one"]["clip_seconds"], 3.9 * slower, True)
    if model["times_faster_than_sample"]:
        yield Goal("large: times faster than the sample", model["times_faster_than_sample"], 12, False)
    for entry in model["in_flight"]:
        if entry["in_flight"] == 32:
            yield Goal("large: clips per second, 32 in flight", entry["clips_per_second"], 2.1 / slower, False)
    yield Goal("large: decode seconds, 8-bit", model["int8"]["decode_seconds"], model["roofline_seconds"], True)
    yield Goal("large: bytes of memory at 8 slots", model["memory"]["device_bytes"], 22e9, True)


def page(folder: Path = RESULTS) -> str:
    """Return docs/engine.md with an up-to-date block of results; the prose around it is written in the page itself."""
    block = results_block(folder)
    text, count = _BLOCK.subn(lambda match: match[1] + block + match[2], PAGE.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{PAGE} must have one block `<!-- generated: gpu results -->` … `<!-- end -->`, got {count}")
    return text


def results_block(folder: Path = RESULTS) -> str:
    """Return all results in Markdown."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return "\n".join(_section(one) for one in results) or "No GPU has been measured yet.\n"


def _section(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    head = (
        f"### {found['device']}\n\nCopies {found['copy_bytes_per_second'] / 1e9:.0f} GB/s; {versions}; clips of "
        f"{found['plan']['steps']} steps, medians of {found['plan']['rounds']}.\n\n"
    )
    lines = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(size, model) for size, model in found["models"].items())]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    judged = "".join(f"- {goal}\n" for goal in goals(found))
    costs = "".join(
        f"| {size} | {name} | {entry['clips_per_second']:.3f} | {entry['usd_per_clip']:.5f} |\n"
        for size, model in found["models"].items()
        for name, entry in model["cost"].get("types", {}).items()
    )
    if costs:
        costs = (
            "\nEstimated from this device by nominal bandwidth, not measured there:\n\n"
            f"| model | instance | clips/s | $ per clip |\n|---|---|---|---|\n{costs}"
        )
    return head + table + (f"\nGoals:\n\n{judged}" if judged else "") + costs


def _row(size: str, model: dict[str, Any]) -> tuple[str, ...]:
    one, start, eight, memory = model["one"], model["start"], model["int8"], model["memory"]
    rates = " / ".join(f"{entry['clips_per_second']:.2f}" for entry in model["in_flight"])
    return (
        size, f"{one['clip_seconds']:.2f} s", f"{model['roofline_seconds']:.2f} s", f"{model['roofline_share']:.0%}",
        f"{rates} clips/s", f"{eight['clip_seconds']:.2f} s",
        *(_stock_cell(model["stock"].get(method)) for method in ("sample", "float16", "static_compiled")),
        f"{model['error']['both_rows']:.1e}", f"{eight['error']['both_rows']:.1e}",
        f"{memory['device_bytes'] / 1e9:.1f}" if memory else "", f"{start['gigabytes_per_second']} GB/s",
        f"{start['graphs']} in {start['graph_seconds']} s" if "graphs" in start else "",
    )  # fmt: skip


def _stock_cell(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not run"
    return f"{result['clip_seconds']:.1f} s" if "clip_seconds" in result else f"failed: {result['failed'][:60]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
