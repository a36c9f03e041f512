"""The page of GPU results, written from what lies in benchmarks/results: `python -m benchmarks.gpu.report`."""

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.limits import goals

RESULTS = Path(__file__).parents[1] / "results"

_INTRODUCTION = """\
# GPU results

<!-- Written by `make docs`; a test holds it equal to benchmarks/results/. -->

`make bench-gpu` measures the engine on the CUDA device that it finds, writes `benchmarks/results/<device>.json` and
exits with 1 where a goal is not reached; `BENCH="--models small"` limits it, and `BENCH=--help` has the rest. `make
test-gpu` proves on the same device that the compiled kernels compute what torch does, that recorded steps make the
tokens of steps done anew, and that a step is one launch without waiting.

Both need a torch that is built for CUDA and the Triton that belongs to it. The project's environment has Triton 3.2 for
its tests; `GPU_PYTHON=/path/to/python` makes both targets take another one, such as the serving container's own, which
for the tests needs pytest, pytest-timeout and hypothesis too.

Weights are random, of the published shapes, and never zero. The roofline is the time that reading a clip's weights and
caches takes at the bandwidth that the device reaches when it copies; `clip` is from text to samples on the host, one at
a time. Stock is `transformers`: the AWS sample's way (float32, the processor loaded for each request), float16, and
compiled over a static cache, each cut short and scaled to the whole clip.
"""

_NONE = """
No GPU result is recorded: none of these figures has been measured on a GPU yet. On a machine with one,

```
make bench-gpu && make docs
```
"""

_COLUMNS = (
    "model", "clip", "roofline", "of it", "8 / 16 / 32 in flight", "int8 clip", "sample's way", "float16", "compiled",
    "error", "int8 error", "GB at 8 slots", "loads", "graphs",
)  # fmt: skip


def page(folder: Path = RESULTS) -> str:
    """The whole page, in Markdown."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return _INTRODUCTION + ("".join(_section(one) for one in results) or _NONE)


def _section(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    head = (
        f"\n## {found['device']}\n\nIt copies {found['copy_bytes_per_second'] / 1e9:.0f} GB/s; {versions}; clips of "
        f"{found['plan']['steps']} steps, medians of {found['plan']['rounds']}.\n\n"
    )
    lines = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(size, model) for size, model in found["models"].items())]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    judged = "".join(f"- {goal}\n" for goal in goals(found))
    return head + table + (f"\nGoals:\n\n{judged}" if judged else "") + _costs(found)


def _row(size: str, model: dict[str, Any]) -> tuple[str, ...]:
    one, start, eight, memory = model["one"], model["start"], model["int8"], model["memory"]
    rates = " / ".join(f"{entry['clips_per_second']:.2f}" for entry in model["in_flight"])
    return (
        size, f"{one['clip_seconds']:.2f} s", f"{model['roofline_seconds']:.2f} s", f"{model['roofline_share']:.0%}",
        f"{rates} clips/s", f"{eight['clip_seconds']:.2f} s",
        *(_stock(model["stock"].get(way)) for way in ("sample", "float16", "static_compiled")),
        f"{model['error']['both_rows']:.1e}", f"{eight['error']['both_rows']:.1e}",
        f"{memory['device_bytes'] / 1e9:.1f}" if memory else "", f"{start['gigabytes_per_second']} GB/s",
        f"{start['graphs']} in {start['graph_seconds']} s" if "graphs" in start else "",
    )  # fmt: skip


def _stock(way: dict[str, Any] | None) -> str:
    if way is None:
        return "not run"
    return f"{way['clip_seconds']:.1f} s" if "clip_seconds" in way else f"failed: {way['failed'][:60]}"


def _costs(found: dict[str, Any]) -> str:
    """Dollars for a clip on the priced instance types, for each model."""
    rows: list[str] = []
    for size, model in found["models"].items():
        for name, entry in model["cost"].get("types", {}).items():
            rows.append(f"| {size} | {name} | {entry['clips_per_second']:.3f} | {entry['usd_per_clip']:.5f} |\n")
    if not rows:
        return ""
    return (
        "\nEstimated from this device by nominal bandwidth, not measured there:\n\n"
        "| model | instance | clips/s | $ per clip |\n|---|---|---|---|\n" + "".join(rows)
    )


if __name__ == "__main__":
    print(page(), end="")
