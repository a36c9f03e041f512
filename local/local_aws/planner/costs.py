"""What clips cost by their number a day, on the stack's endpoint and on one that never scales to zero.

The upper end of a range is for an AWS that keeps each instance fifteen minutes longer than its documented rules say.

`make plan` prints the table, and `python -m local_aws.planner.costs <template>` writes it into the documentation.
"""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from local_aws.autoscaling.rules.scaling_config import ScalingConfig
from local_aws.autoscaling.rules.template import DeclaredEndpoint, Template, read_endpoint, read_scaling
from local_aws.autoscaling.simulator.traffic import Traffic
from local_aws.planner.plan import (
    HOURS_PER_MONTH,
    STARTUP_SECONDS,
    Plan,
    Price,
    Scenario,
    estimate_work,
    load_price,
    make_plan,
    read_capacity,
)

ROOT = Path(__file__).parents[3]
PAGES = (ROOT / "README.md", ROOT / "docs" / "planner.md")
CLIPS_A_DAY = (10, 100, 1_000, 10_000)
CLIP_SECONDS = 30.0
_MIN_CLIPS = 100  # rare clips are simulated for several days, so that their percentiles mean something
_HEADER = (
    *("clips a day", "wake-ups a day", "hours billed a day", "idle", "$ a month", "$ a clip", "median wait"),
    *("p95 wait", "always on: $ a month", "$ a clip", "median wait", "p95 wait"),
)


@dataclass(frozen=True)
class CostRow:
    """Plans for a number of clips a day: with the declared scaling, and with at least one instance at all times."""

    clips_a_day: int
    hours: float
    scaled: Plan
    always_on: Plan

    def cells(self) -> list[str]:
        """Return the row's texts, in the order of the header."""
        plan, days = self.scaled, self.hours / 24
        busy = sum(minute.instances for minute in plan.minutes if minute.backlog) / 60
        served = sum(minute.instances for minute in plan.minutes) / 60
        fixed = self.always_on
        always = fixed.usd / fixed.minutes[-1].at * 3600 * HOURS_PER_MONTH
        month = HOURS_PER_MONTH / self.hours
        idle, longer = served - busy, plan.instance_hours * (plan.longer_usd / plan.usd - 1)
        return [
            f"{self.clips_a_day:,}",
            f"{plan.wakes / days:.1f}",
            f"{plan.instance_hours / days:.1f} to {(plan.instance_hours + longer) / days:.1f}",
            f"{idle / days:.1f} to {(idle + longer) / days:.1f}",
            f"{plan.usd * month:,.0f} to {plan.longer_usd * month:,.0f}",
            f"{plan.usd / plan.completed:.4f} to {plan.longer_usd / plan.completed:.4f}",
            _minutes(plan.p50),
            _minutes(plan.p95),
            f"{always:,.0f}",
            f"{always / HOURS_PER_MONTH * 24 / self.clips_a_day:.4f}",
            _minutes(fixed.p50),
            _minutes(fixed.p95),
        ]


def cost_rows(scaling: ScalingConfig, endpoint: DeclaredEndpoint, price: Price, clip: Scenario) -> list[CostRow]:
    """Plan steady traffic at each of `CLIPS_A_DAY`, whatever `clip`'s own; the same input gives the same rows."""
    always_on = replace(scaling, target=replace(scaling.target, min_capacity=1), scheduled_actions=())
    rows: list[CostRow] = []
    for clips in CLIPS_A_DAY:
        hours = 24.0 * max(1, _MIN_CLIPS // clips)
        scenario = replace(clip, pattern="steady", traffic=Traffic(clips / 24, hours))
        plans = [make_plan(scenario, config, endpoint, price) for config in (scaling, always_on)]
        rows.append(CostRow(clips, hours, *plans))
    return rows


def format_costs(rows: Sequence[CostRow]) -> str:
    """Return the table as lines of text."""
    lines = [list(_HEADER), *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def markdown_costs(rows: Sequence[CostRow]) -> str:
    """Return the table in Markdown."""
    lines = [list(_HEADER), ["---:"] * len(_HEADER), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def documented(page: str, rows: Sequence[CostRow]) -> str:
    """Return a page's text with the table in its block `<!-- generated: costs -->`; ValueError without one."""
    pattern = re.compile(r"(<!-- generated: costs -->\n).*?(<!-- end -->\n)", re.DOTALL)
    text, count = pattern.subn(lambda found: found[1] + markdown_costs(rows) + found[2], page)
    if count != 1:
        raise ValueError(f"the page must have one block `<!-- generated: costs -->` … `<!-- end -->`, got {count}")
    return text


def template_rows(template: Template) -> list[CostRow]:
    """Return the rows for a template, with the work that `make plan` estimates."""
    endpoint = read_endpoint(template)
    work = estimate_work(read_capacity(template, endpoint), endpoint.concurrency, CLIP_SECONDS)
    clip = Scenario("steady", Traffic(1, 1), CLIP_SECONDS, work, STARTUP_SECONDS)
    return cost_rows(read_scaling(template), endpoint, load_price(endpoint.instance_type), clip)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


if __name__ == "__main__":
    found = template_rows(Template(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    for path in PAGES:
        path.write_text(documented(path.read_text(encoding="utf-8"), found), encoding="utf-8")
