"""Unpacked packages are shared by copies: what one revision writes, no other run reads."""

import threading
from pathlib import Path
from typing import Any

import pytest

from stack_gate.collect import jsii_cache, sandbox
from stack_gate.collect.jsii_cache import fill_home
from stack_gate.collect.packages import uses_cdk


@pytest.fixture
def unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script that unpacks, replaced by one that writes a file."""
    script = tmp_path / "scripts/load.py"
    script.parent.mkdir()
    script.write_text("import os, pathlib\npathlib.Path(os.environ['HOME'], 'package').write_text('genuine')\n")
    monkeypatch.setattr(jsii_cache, "_SCRIPT", script)
    return script


def test_home_of_one_revision_does_not_reach_the_next(unpacking: Path, tmp_path: Path) -> None:
    cache, first, second = tmp_path / "cache", tmp_path / "first", tmp_path / "second"
    fill_home(first, cache)
    (first / "package").write_text("the head's own")
    (first / "more").touch()
    fill_home(second, cache)

    assert [(path.name, path.read_text()) for path in second.iterdir()] == [("package", "genuine")]


def test_packages_are_unpacked_once(unpacking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_home(tmp_path / "first", tmp_path / "cache")

    def run_again(*_: object, **__: object) -> None:
        pytest.fail("it ran again")

    monkeypatch.setattr(jsii_cache.sandbox, "run", run_again)
    fill_home(tmp_path / "second", tmp_path / "cache")
    assert (tmp_path / "second/package").exists()


def test_the_faster_of_two_runs_fills_the_cache(
    unpacking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other finds the folder filled when its own packages are unpacked."""
    unpack = jsii_cache.sandbox.run

    def be_overtaken(*arguments: Any, **options: Any) -> sandbox.Finished:
        monkeypatch.setattr(jsii_cache.sandbox, "run", unpack)
        with monkeypatch.context() as patched:  # the other run is another process, with its own lock
            patched.setattr(jsii_cache, "_lock", threading.Lock())
            fill_home(tmp_path / "faster", tmp_path / "cache")
        return unpack(*arguments, **options)

    monkeypatch.setattr(jsii_cache.sandbox, "run", be_overtaken)
    fill_home(tmp_path / "slower", tmp_path / "cache")

    assert (tmp_path / "slower/package").read_text() == (tmp_path / "faster/package").read_text() == "genuine"


def test_other_packages_are_unpacked_anew_and_the_old_ones_deleted(unpacking: Path, tmp_path: Path) -> None:
    fill_home(tmp_path / "first", tmp_path / "cache")
    unpacking.write_text(unpacking.read_text().replace("genuine", "newer"))
    fill_home(tmp_path / "second", tmp_path / "cache")

    assert (tmp_path / "second/package").read_text() == "newer"
    assert len(list((tmp_path / "cache/jsii").iterdir())) == 1


def test_failed_unpacking_leaves_it_to_the_synth(unpacking: Path, tmp_path: Path) -> None:
    unpacking.write_text("raise SystemExit(1)\n")
    fill_home(tmp_path / "home", tmp_path / "cache")

    assert list((tmp_path / "home").iterdir()) == []


def test_unpacking_has_no_network_and_sees_no_file_of_this_account(unpacking: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    unpacking.write_text(
        f"""
import os, pathlib, socket
assert not pathlib.Path({str(tmp_path / "secret")!r}).exists()
try:
    socket.create_connection(("127.0.0.1", 22), 2)
except OSError as error:
    pathlib.Path(os.environ["HOME"], "refused").touch()
"""
    )
    fill_home(tmp_path / "home", tmp_path / "cache")

    assert (tmp_path / "home/refused").exists()


@pytest.mark.parametrize(("pins", "expected"), [("aws-cdk-lib==2.0.0\n", True), ("boto3==1.0\n", False), ("", False)])
def test_only_a_cdk_app_needs_them(pins: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(pins)

    assert uses_cdk(tmp_path) is expected
