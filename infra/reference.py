"""Fill the generated blocks of docs/configuration.md and docs/capacity.md: `python -m infra.reference`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from infra.config.capacity import InstanceCapacity
from infra.config.instances import INSTANCE_TYPES, PRICES
from infra.config.models import SERVED_MODELS, find_model
from infra.config.settings import declared_settings, default_of

ROOT = Path(__file__).resolve().parents[1]
CLIP_SECONDS = (5, 10, 30)


def page(name: str) -> str:
    """Return a page of docs/ with up-to-date tables; the prose around them is written in the page itself."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    for block, table in _BLOCKS[name].items():
        pattern = re.compile(rf"(<!-- generated: {block} -->\n).*?(<!-- end -->\n)", re.DOTALL)
        text, count = pattern.subn(lambda found, table=table: found[1] + table() + found[2], text)
        if count != 1:
            raise ValueError(f"{name} must have one block `<!-- generated: {block} -->` … `<!-- end -->`, got {count}")
    return text


def settings_table() -> str:
    """Return the settings in Markdown: a table for each group, with a column for each environment of cdk.json."""
    environments = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]["environments"]
    groups: dict[str, list[list[str]]] = {}
    for name, setting in declared_settings().items():
        if setting.heading:
            groups[setting.heading] = [["setting", "default", *environments, "allowed", "meaning"]]
        if name != "env":
            values = [_shown(values.get(name, "")) for values in environments.values()]
            row = [f"`{name}`", _shown(default_of(name)), *values, setting.rule.allowed, setting.doc]
            groups[next(reversed(groups))].append(row)
    return "\n".join(f"### {heading}\n\n{_table(rows)}" for heading, rows in groups.items())


def capacity_table(weight_quantisation: str) -> str:
    """Return what each instance type holds of each model, staged in float16: a row each, three columns a length."""
    rows = [["model", "instance type", "a clip alone"]]
    rows[0] += [f"{seconds} s: {title}" for seconds in CLIP_SECONDS for title in ("at once", "clips/s", "$ a clip")]
    for model_id in SERVED_MODELS:
        for instance_type in INSTANCE_TYPES:
            capacity = InstanceCapacity(
                model=find_model(model_id), instance_type=instance_type, weight_quantisation=weight_quantisation
            )
            row = [
                model_id.removeprefix("facebook/musicgen-"),
                f"`{instance_type}`",
                f"{capacity.clip_seconds():.0f} s",
            ]
            for seconds in CLIP_SECONDS:
                clips = capacity.derived_requests(seconds)
                usd = capacity.usd_per_clip(clips, seconds, region=PRICES["region"])
                row += [str(clips), f"{capacity.clips_per_second(clips, seconds):.2g}", f"{usd:.5f}"]
            rows.append(row)
    return _table(rows)


_BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "configuration.md": {"settings": settings_table},
    "capacity.md": {
        "capacity in float16": lambda: capacity_table("none"),
        "capacity in int8": lambda: capacity_table("int8"),
    },
}
PAGES = tuple(_BLOCKS)


def _table(rows: list[list[str]]) -> str:
    """Return rows in Markdown; the first is the header."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shown(value: Any) -> str:
    if value is None:
        return "`auto`"
    text = ", ".join(cast(list[str], value)) if isinstance(value, list | tuple) else str(value)
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    for filled in PAGES:
        (ROOT / "docs" / filled).write_text(page(filled), encoding="utf-8")
