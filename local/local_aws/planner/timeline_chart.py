"""Chart backlog and instances over time, as an image or as text."""
# pyright: reportUnknownMemberType=false
# (matplotlib's own annotations are incomplete)

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 72


class Point(Protocol):
    """One point in time: `at` in seconds, `backlog` requests waiting or running, `instances` in service."""

    @property
    def at(self) -> float: ...

    @property
    def backlog(self) -> int: ...

    @property
    def instances(self) -> int: ...


def draw(points: Sequence[Point], path: Path, title: str) -> None:
    """Write a .png or .svg chart to `path`. Raise ValueError for another suffix."""
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"a chart must end in .png or .svg, got {path.name}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: it takes a second, and most plans draw nothing
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    hours = [(point.at - points[0].at) / 3600 for point in points]
    upper.fill_between(hours, [point.backlog for point in points], step="post", color="#5b8def", alpha=0.6)
    upper.set_ylabel("requests waiting\nor running")
    lower.step(hours, [point.instances for point in points], where="post", color="#d1495b")
    lower.set_ylabel("instances")
    lower.set_xlabel("hours")
    for axes in (upper, lower):
        axes.set_ylim(bottom=0)
        axes.yaxis.get_major_locator().set_params(integer=True)
    upper.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Return one line of block characters, each the largest value of its time slice; empty for no values."""
    if not values:
        return ""
    columns = min(width, len(values))
    starts = [len(values) * column // columns for column in range(columns + 1)]
    peaks = [max(values[start:end]) for start, end in itertools.pairwise(starts)]
    top = max(max(peaks), 1)
    return "".join(_BARS[0 if peak <= 0 else max(1, round(peak / top * (len(_BARS) - 1)))] for peak in peaks)


def format_timeline(points: Sequence[Point]) -> str:
    """Return three lines: backlog, instances, and the length of time."""
    backlogs, instances = [point.backlog for point in points], [point.instances for point in points]
    minutes = (points[-1].at - points[0].at) / 60 if points else 0.0
    return "\n".join(
        [
            f"backlog   |{sparkline(backlogs)}| at most {max(backlogs, default=0)}",
            f"instances |{sparkline(instances)}| at most {max(instances, default=0)}",
            f"          over {minutes:.0f} minutes of the controller's clock",
        ]
    )
