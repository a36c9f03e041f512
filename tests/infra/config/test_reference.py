"""The generated tables of docs/configuration.md and docs/capacity.md are current, and complete."""

from pathlib import Path
from typing import Any

import pytest

from infra.config import from_context
from infra.config.capacity import InstanceCapacity
from infra.config.instances import INSTANCE_TYPES
from infra.config.models import SERVED_MODELS, find_model
from infra.config.settings import declared_settings
from infra.reference import CLIP_SECONDS, PAGES, capacity_table, page

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", PAGES)
def test_page_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == page(name)


def test_page_has_a_row_for_every_setting() -> None:
    rows = [line.split("`")[1] for line in page("configuration.md").splitlines() if line.startswith("| `")]
    assert rows == [name for name in declared_settings() if name != "env"]


@pytest.mark.parametrize("quantisation", ["none", "int8"])
def test_capacity_table_has_every_model_on_every_instance_type_at_every_length(quantisation: str) -> None:
    rows = [row.strip("| \n").split(" | ") for row in capacity_table(quantisation).splitlines()[2:]]
    expected = [(model_id, name) for model_id in SERVED_MODELS for name in INSTANCE_TYPES]
    assert [(f"facebook/musicgen-{row[0]}", row[1].strip("`")) for row in rows] == expected
    for row, (model_id, name) in zip(rows, expected, strict=True):
        capacity = InstanceCapacity(model=find_model(model_id), instance_type=name, weight_quantisation=quantisation)
        assert [int(clips) for clips in row[3::3]] == [capacity.derived_requests(seconds) for seconds in CLIP_SECONDS]
        hourly = {float(usd) * float(rate) * 3600 for rate, usd in zip(row[4::3], row[5::3], strict=True)}
        price = capacity.usd_per_clip(1, region="us-east-1") or 0
        assert all(one == pytest.approx(price * capacity.clips_per_second(1) * 3600, rel=0.5) for one in hourly)


def test_tables_longest_clips_are_the_defaults_of_the_configuration() -> None:
    row = next(line for line in capacity_table("none").splitlines() if line.startswith("| large | `ml.g5.2xlarge`"))
    context: dict[str, Any] = {"environments": {"dev": {}}}
    assert int(row.split(" | ")[9]) == from_context(context).concurrent_requests == 11
    assert int(row.split(" | ")[3]) == from_context({**context, "clip_seconds": 5}).concurrent_requests == 32


def test_figures_of_the_capacity_pages_prose_follow_from_the_formula() -> None:
    text = " ".join((ROOT / "docs" / "capacity.md").read_text(encoding="utf-8").split())
    large = InstanceCapacity(model=find_model("facebook/musicgen-large"), instance_type="ml.g5.2xlarge")
    clips, short = large.derived_requests(), large.derived_requests(5)
    assert f"musicgen-large accepts {short} requests on 24 GB instead of {clips}" in text
    assert f"If all {clips} are such, {16 * clips} clips of 30 s share the {clips} places" in text
    minutes = large.clip_seconds(clips=16 * clips) / 60
    assert f"estimated {minutes:.0f} minutes on an A10G, above SageMaker's default invocation timeout of 15" in text
