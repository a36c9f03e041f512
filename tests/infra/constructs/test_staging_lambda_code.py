"""The staging Lambda's asset: pip's options, the hash and the error message."""

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from aws_cdk import BundlingOptions

from infra.constructs import staging_lambda_code

OPTIONS = cast(BundlingOptions, None)  # unused


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny `lambda/` in place of the real one."""
    folder = tmp_path / "lambda"
    (folder / "stage_model" / "__pycache__").mkdir(parents=True)
    (folder / "stage_model" / "handler.py").write_text("handler = print\n", encoding="utf-8")
    (folder / "stage_model" / "__pycache__" / "handler.pyc").write_bytes(b"compiled")
    (folder / "requirements.txt").write_text("numpy==2.4.6\n", encoding="utf-8")
    monkeypatch.setattr(staging_lambda_code, "SOURCES", folder)
    monkeypatch.setattr(staging_lambda_code, "REQUIREMENTS", folder / "requirements.txt")
    return folder


def completed(command: list[str], code: int, stderr: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(command, code, "", stderr)


def test_asset_contains_sources_and_wheels_without_scripts_and_bytecode(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: list[str] = []

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        arguments.extend(command)
        (tmp_path / "out" / "bin").mkdir(parents=True)
        (tmp_path / "out" / "bin" / "f2py").write_text("#!/usr/bin/python3\n", encoding="utf-8")
        (tmp_path / "out" / "numpy").mkdir()
        return completed(command, 0)

    monkeypatch.setattr(subprocess, "run", pip)
    assert staging_lambda_code.PipBundling().try_bundle(str(tmp_path / "out"), OPTIONS)
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*"))
    assert names == ["numpy", "stage_model", "stage_model/handler.py"]
    assert arguments[:4] == [sys.executable, "-m", "pip", "install"]
    assert {"--only-binary=:all:", "--python-version=3.14", "--platform=manylinux2014_aarch64"} <= set(arguments)


def test_pip_failure_raises_with_pips_output(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = "ERROR: No matching distribution found for numpy==2.4.6"
    monkeypatch.setattr(subprocess, "run", lambda command, **_: completed(command, 1, error))  # pyright: ignore
    with pytest.raises(RuntimeError, match="could not install the staging Lambda's wheels") as failure:
        staging_lambda_code.PipBundling().try_bundle(str(tmp_path / "out"), OPTIONS)
    assert error in str(failure.value)


def test_environment_without_pip_is_reported_with_the_remedy(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = f"{sys.executable}: No module named pip"
    monkeypatch.setattr(subprocess, "run", lambda command, **_: completed(command, 1, error))  # pyright: ignore
    with pytest.raises(RuntimeError, match="uv venv --seed"):
        staging_lambda_code.PipBundling().try_bundle(str(tmp_path / "out"), OPTIONS)


def test_hash_depends_only_on_sources_and_requirements(sources: Path) -> None:
    before = staging_lambda_code.source_hash()
    (sources / "stage_model" / "__pycache__" / "other.pyc").write_bytes(b"compiled again")
    (sources / "notes.txt").write_text("not bundled", encoding="utf-8")
    assert staging_lambda_code.source_hash() == before
    (sources / "requirements.txt").write_text("numpy==2.4.7\n", encoding="utf-8")
    changed = staging_lambda_code.source_hash()
    (sources / "stage_model" / "handler.py").write_text("handler = repr\n", encoding="utf-8")
    assert len({before, changed, staging_lambda_code.source_hash()}) == 3


def test_requirements_pin_every_package_by_version_and_hash() -> None:
    lines = staging_lambda_code.REQUIREMENTS.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    requirements = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert requirements
    for requirement in requirements:
        assert "==" in requirement
        assert "--hash=sha256:" in requirement
