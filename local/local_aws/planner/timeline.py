"""A run as a picture: backlog and instances over time, drawn or written."""
# pyright: reportUnknownMemberType=false
# (matplotlib's own annotations are incomplete)

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 72


class Moment(Protocol):
    """One point of a timeline; `at` in seconds."""

    @property
    def at(self) -> float:
        """When, in seconds of the controller's clock."""
        ...

    @property
    def backlog(self) -> int:
        """Requests waiting or running."""
        ...

    @property
    def instances(self) -> int:
        """Instances in service."""
        ...


def draw(moments: Sequence[Moment], path: Path, title: str) -> None:
    """Writes `path`, a .png or .svg file, with time from the first moment on. ValueError for another ending."""
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"a picture must end in .png or .svg, got {path.name}")
    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    hours = [(moment.at - moments[0].at) / 3600 for moment in moments]
    upper.fill_between(hours, [moment.backlog for moment in moments], step="post", color="#5b8def", alpha=0.6)
    upper.set_ylabel("requests waiting\nor running")
    lower.step(hours, [moment.instances for moment in moments], where="post", color="#d1495b")
    lower.set_ylabel("instances")
    lower.set_xlabel("hours")
    for axes in (upper, lower):
        axes.set_ylim(bottom=0)
        axes.yaxis.get_major_locator().set_params(integer=True)
    upper.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def bars(values: Sequence[float], width: int = _WIDTH) -> str:
    """One line of blocks, each the largest value of its share of the time; empty for no values."""
    if not values:
        return ""
    columns = min(width, len(values))
    starts = [len(values) * column // columns for column in range(columns + 1)]
    peaks = [max(values[start:end]) for start, end in itertools.pairwise(starts)]
    top = max(max(peaks), 1)
    return "".join(_BARS[0 if peak <= 0 else max(1, round(peak / top * (len(_BARS) - 1)))] for peak in peaks)


def write(moments: Sequence[Moment]) -> str:
    """Three lines: backlog, instances, and the time that they span."""
    backlogs, instances = [moment.backlog for moment in moments], [moment.instances for moment in moments]
    minutes = (moments[-1].at - moments[0].at) / 60 if moments else 0.0
    return "\n".join(
        [
            f"backlog   |{bars(backlogs)}| at most {max(backlogs, default=0)}",
            f"instances |{bars(instances)}| at most {max(instances, default=0)}",
            f"          over {minutes:.0f} minutes of the controller's clock",
        ]
    )
