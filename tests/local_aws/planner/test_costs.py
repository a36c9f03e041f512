"""The table of costs by clips a day: its figures, and the pages that show it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from local_aws.autoscaling.rules.template import Template
from local_aws.planner import costs
from local_aws.planner.__main__ import main
from local_aws.planner.costs import CLIPS_A_DAY, PAGES, CostRow, documented, format_costs, markdown_costs, template_rows


@pytest.fixture(scope="module")
def rows(synthesised: dict[str, dict[str, Any]]) -> list[CostRow]:
    """The rows of the dev template, planned once: it takes several seconds."""
    return template_rows(Template(synthesised["one"]))


def test_pages_show_the_planners_output(rows: list[CostRow]) -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert documented(text, rows) == text, f"{page.name} is not up to date: run make docs"


def test_a_page_without_the_block_is_refused(rows: list[CostRow]) -> None:
    with pytest.raises(ValueError, match=r"must have one block `<!-- generated: costs -->` … `<!-- end -->`, got 0"):
        documented("no table", rows)


def test_costs_include_waking_and_idling_and_a_busy_endpoint_costs_what_an_always_on_one_does(
    rows: list[CostRow],
) -> None:
    assert tuple(row.clips_a_day for row in rows) == CLIPS_A_DAY
    rare, *_, busy = rows
    assert all(not row.scaled.unanswered and row.scaled.back_at_zero for row in rows)
    # A clip alone pays at least for its start of 360 s and its work of 61 s, and at most for 15 minutes more.
    price = 1.515 / 3600
    assert (360 + 61) * price < rare.scaled.usd_per_clip < (360 + 61 + 4 * 60) * price
    assert rare.scaled.p50 > 360 + 61 > busy.scaled.p95
    assert rare.always_on.p50 == pytest.approx(61, abs=1)
    assert busy.scaled.usd / busy.hours == pytest.approx(1.515, rel=0.02)
    assert not any(row.always_on.back_at_zero for row in rows)


def test_text_and_markdown_have_the_same_cells(rows: list[CostRow]) -> None:
    lines = [line.strip("| ").split(" | ") for line in markdown_costs(rows).splitlines()]
    assert lines[1] == ["---:"] * 12
    for line, shown in zip([lines[0], *lines[2:]], format_costs(rows).splitlines(), strict=True):
        assert all(cell in shown for cell in line)
    always = [row.cells()[8] for row in rows]
    assert always == ["1,106"] * 4


def test_a_plan_ends_with_the_costs_of_its_own_clips(
    synthesised: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "t.json").write_text(json.dumps(synthesised["one"]))
    monkeypatch.setattr(costs, "CLIPS_A_DAY", (1_000,))
    given = ["--rate", "1", "--hours", "1", "--clip-seconds", "60", "--seconds-per-clip", "120"]
    monkeypatch.setattr(sys, "argv", ["planner", *given, "--template", str(tmp_path / "t.json")])
    assert main() == 0
    *_, title, header, row = capsys.readouterr().out.splitlines()
    assert title.startswith("by clips a day, 60 s of music each") and header.split()[:3] == ["clips", "a", "day"]
    assert row.split()[0] == "1,000" and row.endswith("2.0 min")  # the always-on endpoint's p95
