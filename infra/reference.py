"""Fill the generated block of docs/configuration.md, the table of all settings: `python -m infra.reference`."""

import json
import re
from pathlib import Path
from typing import Any, cast

from infra.config.settings import declared_settings, default_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
_BLOCK = re.compile(r"(<!-- generated: settings -->\n).*?(<!-- end -->\n)", re.DOTALL)


def page() -> str:
    """Return the page with an up-to-date table; the prose around it is written in the page itself."""
    text, count = _BLOCK.subn(lambda block: block[1] + settings_table() + block[2], PAGE.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{PAGE} must have one block `<!-- generated: settings -->` … `<!-- end -->`, got {count}")
    return text


def settings_table() -> str:
    """Return the settings in Markdown, a column for each environment of cdk.json."""
    environments = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]["environments"]
    header = ["setting", "default", *environments, "allowed", "meaning"]
    rows = [header, ["---"] * len(header)]
    for name, setting in declared_settings().items():
        if name != "env":
            values = [_shown(values.get(name, "")) for values in environments.values()]
            rows.append([f"`{name}`", _shown(default_of(name)), *values, setting.rule.allowed, setting.doc])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _shown(value: Any) -> str:
    text = ", ".join(cast(list[str], value)) if isinstance(value, list | tuple) else str(value)
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
