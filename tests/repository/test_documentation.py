"""The pages and the Makefile match the repository."""

import re
import subprocess
from pathlib import Path

import pytest

from infra.config.settings import declared_settings

PROJECT = Path(__file__).parents[2]
PAGES = [*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")]
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"(?:^ *|`|; |&& )make ([a-z][a-z-]*)", re.MULTILINE)
VARIABLE = re.compile(r"(?:^ *|`|; |&& )make [a-z-]+((?: [A-Z]+=(?:\"[^\"\n]*\"|[^\s\"`]*))+)", re.MULTILINE)
SETTING = re.compile(r"(?<![\w-])-c ([A-Za-z_]\w*)=")
PLACEHOLDERS = {"name"}  # as in `-c name=value`


def targets() -> dict[str, str]:
    """Return the Makefile's public targets with their help text."""
    return dict(re.findall(r"^([a-z-]+):.*?## (.+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_point_to_existing_files(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_commands_are_targets(page: Path) -> None:
    assert set(COMMAND.findall(page.read_text())) <= set(targets())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_of_make_commands_are_in_the_makefile(page: Path) -> None:
    declared = set(re.findall(r"^([A-Z_]+) \?= ?", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    given = " ".join(VARIABLE.findall(page.read_text()))
    assert set(re.findall(r"(?:^| )([A-Z]+)=", given)) <= declared


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_context_options_are_settings(page: Path) -> None:
    assert set(SETTING.findall(page.read_text())) - PLACEHOLDERS <= set(declared_settings())


def test_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^  make ([a-z-]+)  +\S", shown, re.MULTILINE)
    assert set(targets()) <= set(listed)


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    script = (PROJECT / ".ci" / "run").read_text()
    assert "make test" in script and "make lint" in script
    assert "\nmake test\n" in (PROJECT / "README.md").read_text()


def test_lock_files_name_no_registry() -> None:
    for lock in (
        *PROJECT.glob("requirements*.txt"),
        PROJECT / "package-lock.json",
        PROJECT / "lambda/requirements.txt",
    ):
        text = lock.read_text()
        assert '"resolved"' not in text and "--index-url" not in text and "--find-links" not in text, lock.name
