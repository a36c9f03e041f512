"""The staging Lambda's asset: what pip is asked for, what the hash depends on, and how a failure reads."""

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from aws_cdk import BundlingOptions

from infra.constructs import staging_asset

OPTIONS = cast(BundlingOptions, None)  # not looked at


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny `lambda/` in place of the real one."""
    folder = tmp_path / "lambda"
    (folder / "stage_model" / "__pycache__").mkdir(parents=True)
    (folder / "stage_model" / "handler.py").write_text("handler = print\n", encoding="utf-8")
    (folder / "stage_model" / "__pycache__" / "handler.pyc").write_bytes(b"compiled")
    (folder / "requirements.txt").write_text("numpy==2.4.6\n", encoding="utf-8")
    monkeypatch.setattr(staging_asset, "SOURCES", folder)
    monkeypatch.setattr(staging_asset, "REQUIREMENTS", folder / "requirements.txt")
    return folder


def answer(command: list[str], code: int, words: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(command, code, "", words)


def test_asset_holds_sources_and_wheels_but_nothing_of_the_build_machine(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.extend(command)
        (tmp_path / "out" / "bin").mkdir(parents=True)
        (tmp_path / "out" / "bin" / "f2py").write_text("#!/usr/bin/python3\n", encoding="utf-8")
        (tmp_path / "out" / "numpy").mkdir()
        return answer(command, 0)

    monkeypatch.setattr(subprocess, "run", pip)
    assert staging_asset.PipBundling().try_bundle(str(tmp_path / "out"), OPTIONS)
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*"))
    assert names == ["numpy", "stage_model", "stage_model/handler.py"]
    assert asked[:4] == [sys.executable, "-m", "pip", "install"]
    assert {"--only-binary=:all:", "--python-version=3.14", "--platform=manylinux2014_aarch64"} <= set(asked)


def test_failure_of_pip_is_told_in_pips_words(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "ERROR: No matching distribution found for numpy==2.4.6"
    monkeypatch.setattr(subprocess, "run", lambda command, **_: answer(command, 1, words))  # pyright: ignore
    with pytest.raises(RuntimeError, match="could not install the staging Lambda's wheels") as failure:
        staging_asset.PipBundling().try_bundle(str(tmp_path / "out"), OPTIONS)
    assert words in str(failure.value)


def test_hash_changes_with_sources_and_requirements_and_with_nothing_else(sources: Path) -> None:
    before = staging_asset.source_hash()
    (sources / "stage_model" / "__pycache__" / "other.pyc").write_bytes(b"compiled again")
    (sources / "notes.txt").write_text("not shipped", encoding="utf-8")
    assert staging_asset.source_hash() == before
    (sources / "requirements.txt").write_text("numpy==2.4.7\n", encoding="utf-8")
    changed = staging_asset.source_hash()
    (sources / "stage_model" / "handler.py").write_text("handler = repr\n", encoding="utf-8")
    assert len({before, changed, staging_asset.source_hash()}) == 3


def test_requirements_pin_every_package_by_version_and_hash() -> None:
    lines = staging_asset.REQUIREMENTS.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    requirements = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert requirements
    for requirement in requirements:
        assert "==" in requirement
        assert "--hash=sha256:" in requirement
