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
_START_UP = ("decoder", "compile", "text_encoder", "codec", "graph", "self_check", "warm_up")


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
    if size in ROOFLINE_SHARES and _planned(model, "one"):
        yield Goal(f"{size}: share of the roofline", _figure(model, "roofline_share"), ROOFLINE_SHARES[size], False)
    if size in ROOFLINE_SHARES and "one" not in model and _planned(model, "steps_1"):  # a quick run
        share = _figure(_steps(model, 1), "copy_share")
        yield Goal(f"{size}: share of the copy bandwidth, one clip", share, ROOFLINE_SHARES[size], False)
    if _planned(model, "error"):
        yield Goal(f"{size}: error of float16 logits", _figure(model, "error", "both_rows"), 1e-2, True)
    yield Goal(f"{size}: seconds to record graphs", _figure(model, "start", "graph_seconds"), 10, True)
    yield Goal(f"{size}: gigabytes per second read", _figure(model, "start", "gigabytes_per_second"), 2, False)
    traced = {name: _figure(model, "trace", name) for name in _PER_STEP}
    yield Goal(f"{size}: graph launches per step", traced["graph_launches"], 1, False)  # or the trace saw nothing
    for name, wanted in _PER_STEP.items():
        yield Goal(f"{size}: {name.replace('_', ' ')} per step", traced[name], wanted, True)


def _goals_of_large(model: dict[str, Any], slower: float) -> Iterator[Goal]:
    if not _planned(model, "one"):
        return
    yield Goal("large: seconds per clip", _figure(model, "one", "clip_seconds"), 3.9 * slower, True)
    if model.get("times_faster_than_sample"):
        yield Goal("large: times faster than the sample", model["times_faster_than_sample"], 12, False)
    for entry in model.get("in_flight", []):
        if entry["in_flight"] == 32:
            yield Goal("large: clips per second, 32 in flight", entry["clips_per_second"], 2.1 / slower, False)
    seconds = _figure(model, "int8", "decode_seconds")
    yield Goal("large: decode seconds, 8-bit", seconds, _figure(model, "roofline_seconds"), True)
    yield Goal("large: bytes of memory at 8 slots", _figure(model, "memory", "device_bytes"), 22e9, True)


def _planned(model: dict[str, Any], section: str) -> bool:
    """Whether a section was run, successfully or not."""
    return section in model.get("section_seconds", {})


def _figure(model: dict[str, Any], *place: str) -> float:
    """Return a model's figure, or NaN, which meets no goal, if its section failed."""
    *outer, last = place
    for key in outer:
        model = model.get(key) or {}
    found = model.get(last)
    return nan if found is None else float(found)


def _steps(model: dict[str, Any], clips: int) -> dict[str, Any]:
    entries: list[dict[str, Any]] = model.get("steps", [])
    return next((entry for entry in entries if entry["clips"] == clips), dict[str, Any]())


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
    copies, reads = (found[f"{kind}_bytes_per_second"] / 1e9 for kind in ("copy", "read"))
    head = (
        f"### {found['device']}{', quick' if found['quick'] else ''}\n\n"
        f"Copies {copies:.0f} GB/s, reads {reads:.0f} GB/s; {versions}; clips of {found['plan']['steps']} steps, "
        f"medians of {found['plan']['rounds']}.\n\n"
    )
    table = ""
    if not found["quick"]:
        lines = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(size, model) for size, model in found["models"].items())]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"
    judged = "".join(f"- {goal}\n" for goal in goals(found))
    costs = "".join(
        f"| {size} | {name} | {entry['clips_per_second']:.3f} | {entry['usd_per_clip']:.5f} |\n"
        for size, model in found["models"].items()
        for name, entry in model.get("cost", {}).get("types", {}).items()
    )
    if costs:
        costs = (
            "\nEstimated from this device by nominal bandwidth, not measured there:\n\n"
            f"| model | instance | clips/s | $ per clip |\n|---|---|---|---|\n{costs}"
        )
    return head + table + _steps_table(found) + _starts(found) + (f"\nGoals:\n\n{judged}" if judged else "") + costs


def _steps_table(found: dict[str, Any]) -> str:
    rows = ""
    for size, model in found["models"].items():
        launches = " + ".join(f"{_figure(model, 'trace', kind):g}" for kind in ("graph_launches", "other_kernels"))
        for entry in model.get("steps", []):
            shares = f"{entry['copy_share']:.0%} | {entry['read_share']:.0%}"
            rows += f"| {size} | {entry['clips']} | {entry['milliseconds']:.3f} | {shares} | {launches} |\n"
    return f"| model | clips | ms per step | of copy | of read | launches |\n|---|---|---|---|---|---|\n{rows}"


def _starts(found: dict[str, Any]) -> str:
    """Return each model's start-up in seconds by part, the path that self-verification left in use, and failures."""
    lines: list[str] = []
    for size, model in found["models"].items():
        start = model.get("start", {})
        parts = ", ".join(f"{name} {start[f'{name}_seconds']}" for name in _START_UP if f"{name}_seconds" in start)
        path = "/".join(str(start.get(name, "not verified")) for name in ("step", "launch"))
        lines.append(f"- {size}: start-up {start.get('seconds', nan)} s ({parts}); path {path}")
        lines += [f"- {size}: section {name} failed: {error}" for name, error in model.get("failed", {}).items()]
    return "\n" + "".join(f"{line}\n" for line in lines)


def _row(size: str, model: dict[str, Any]) -> tuple[str, ...]:
    rates = " / ".join(f"{entry['clips_per_second']:.2f}" for entry in model.get("in_flight", []))
    stock: dict[str, Any] = model.get("stock", {})
    return (
        size, _cell(model, "{:.2f} s", "one", "clip_seconds"), _cell(model, "{:.2f} s", "roofline_seconds"),
        _cell(model, "{:.0%}", "roofline_share"), f"{rates} clips/s", _cell(model, "{:.2f} s", "int8", "clip_seconds"),
        *(_stock_cell(stock.get(method)) for method in ("sample", "float16", "static_compiled")),
        _cell(model, "{:.1e}", "error", "both_rows"), _cell(model, "{:.1e}", "int8", "error", "both_rows"),
        f"{memory['device_bytes'] / 1e9:.1f}" if (memory := model.get("memory")) else "",
        _cell(model, "{:g} GB/s", "start", "gigabytes_per_second"),
        f"{start['graphs']} in {start['graph_seconds']} s" if "graphs" in (start := model.get("start", {})) else "",
    )  # fmt: skip


def _cell(model: dict[str, Any], form: str, *place: str) -> str:
    """Return a formatted figure, or `failed`."""
    figure = _figure(model, *place)
    return form.format(figure) if figure == figure else "failed"


def _stock_cell(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not run"
    return f"{result['clip_seconds']:.1f} s" if "clip_seconds" in result else f"failed: {result['failed'][:60]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
