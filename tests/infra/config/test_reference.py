"""docs/configuration.md lists the current settings."""

from pathlib import Path

from infra.config.settings import declared_settings
from infra.reference import page

ROOT = Path(__file__).resolve().parents[3]


def test_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page()


def test_page_has_a_row_for_every_setting() -> None:
    rows = [line.split("`")[1] for line in page().splitlines() if line.startswith("| `")]
    assert rows == [name for name in declared_settings() if name != "env"]
