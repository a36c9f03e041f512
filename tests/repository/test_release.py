"""One version, which changelog, client and pages agree on, and the notes of a release."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

from infra.config.version import version
from release_notes import HEADING, release_notes

PROJECT = Path(__file__).parents[2]
CHANGELOG = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_version_is_semantic_and_the_clients() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", version())
    client = tomllib.loads((PROJECT / "client" / "pyproject.toml").read_text(encoding="utf-8"))
    assert client["project"]["version"] == version()


@pytest.mark.parametrize("page", ["api.md", "contracts.md"])
def test_examples_show_the_current_version(page: str) -> None:
    shown = re.findall(r'"version": "([^"]*)"', (PROJECT / "docs" / page).read_text(encoding="utf-8"))
    assert shown == [version()]


def test_changelog_starts_with_what_is_unreleased_or_with_the_version() -> None:
    entries = [found.group(1, 2) for found in HEADING.finditer(CHANGELOG)]
    assert len(entries) == len(re.findall(r"^## ", CHANGELOG, re.MULTILINE))  # every heading has the format
    assert entries[0][0] in ("Unreleased", version())
    released = [(tuple(map(int, name.split("."))), date.fromisoformat(day)) for name, day in entries if day]
    assert [name for name, day in entries if not day] in ([], ["Unreleased"])
    assert released == sorted(released, reverse=True)


def test_changelogs_entries_have_the_kinds_of_keep_a_changelog() -> None:
    kinds = re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)
    assert kinds and set(kinds) <= KINDS


def test_release_notes_are_the_newest_entrys() -> None:
    page = "# Changelog\n\n## [0.2.0] - 2026-12-01\n\n### Fixed\n\nThis.\n\n## [0.1.0] - 2026-11-01\n\nThat.\n"
    assert release_notes(page, "0.2.0") == "### Fixed\n\nThis.\n"


@pytest.mark.parametrize(
    ("heading", "shown"),
    [("## [Unreleased]", "Unreleased"), ("## [0.1.0] - 2026-11-01", "0.1.0 - 2026-11-01"), ("## 0.2.0", "none")],
)
def test_a_version_without_a_dated_entry_is_not_released(heading: str, shown: str) -> None:
    with pytest.raises(ValueError, match=rf"must be \[0.2.0\] - <date>, got {shown}$"):
        release_notes(f"{heading}\n\nText.\n", "0.2.0")
