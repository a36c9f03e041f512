"""The walkthrough's output on a terminal and elsewhere, and its pages and assets."""

import io
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from local_aws.walkthrough import bundled_assets, demo_page, user_shell
from local_aws.walkthrough.cdk_cli import CdkCli, describe_event
from local_aws.walkthrough.report import Report, StepFailed
from musicgen_client.cli import play

EVENT = (
    "MusicGen-dev | 24/49 | 12:05:26 AM | CREATE_COMPLETE         | AWS::IAM::Policy                            | "
    "StagedModel/Role/DefaultPolicy (StagedModelRoleDefaultPolicy2742F3B3)"
)
DELETION = "MusicGen-dev |  47 | 12:06:29 AM | DELETE_COMPLETE   | AWS::S3::Bucket  | Storage/InputBucket (Sto)"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def terminal_that_moves_its_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_events_are_plain_lines_without_a_terminal() -> None:
    out = io.StringIO()
    report = Report(out, 1)
    with report.step("cdk deploy"):
        for _ in range(3):
            report.progress(EVENT, describe_event(EVENT))
    assert out.getvalue().count(EVENT) == 3
    assert "\x1b" not in out.getvalue()


def test_events_are_one_live_line_on_a_terminal() -> None:
    out = Terminal()
    report = Report(out, 1)
    with report.step("cdk deploy"):
        for done in range(90):
            report.progress(EVENT.replace("24/", f"{done}/"), describe_event(EVENT.replace("24/", f"{done}/")))
        report.say("staged [model]")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "89 of 49 resources: CREATE_COMPLETE AWS::IAM::Policy" in text
    kept = [line.rpartition("\r")[2].strip() for line in text.split("\n") if line.strip()]
    assert len(kept) <= 6, kept  # title, what was said, duration; the live line is overwritten
    assert "        staged [model]" in text


def test_event_is_shortened() -> None:
    expected = "24 of 49 resources: CREATE_COMPLETE AWS::IAM::Policy StagedModel/Role/DefaultPolicy"
    assert describe_event(EVENT) == expected
    assert describe_event(DELETION) == "47 resources: DELETE_COMPLETE AWS::S3::Bucket Storage/InputBucket"
    assert describe_event("MusicGen-dev: deploying... [1/1]") is None


def cdk(folder: Path, script: str) -> CdkCli:
    program = folder / "bin" / "cdk"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:/usr/bin:/bin"}
    return CdkCli(folder, folder / "cdk.out", environment, folder / "cdk.log", Report(io.StringIO(), 1))


def test_bootstrap_runs_meanwhile_and_its_failure_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = cdk(tmp_path, "case $1 in bootstrap) while [ ! -e synthesised ]; do sleep 0.02; done; exit 3;; esac")
    monkeypatch.setenv("PATH", cli.environment["PATH"])
    with (
        pytest.raises(StepFailed, match=r"^`cdk bootstrap` failed with exit code 3$"),
        cli.bootstrapping("123456789012", "us-east-1"),
    ):
        (tmp_path / "synthesised").touch()  # what it waits for
    assert "$ cdk bootstrap aws://123456789012/us-east-1" in (tmp_path / "cdk.log").read_text()


def test_bootstrap_does_not_run_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, state = tmp_path / "project", tmp_path / "state"
    project.mkdir()
    state.mkdir()
    (project / "cdk.json").write_text('{"app": "false"}')
    cli = replace(cdk(tmp_path, "[ ! -e cdk.json ]"), project=project, log=state / "cdk.log")
    monkeypatch.setenv("PATH", cli.environment["PATH"])
    with cli.bootstrapping("123456789012", "us-east-1"):
        pass


def test_bootstrap_ends_when_the_synthesis_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = cdk(tmp_path, "case $1 in bootstrap) sleep 300;; *) exit 4;; esac")
    monkeypatch.setenv("PATH", cli.environment["PATH"])
    with pytest.raises(StepFailed, match="cdk synth"), cli.bootstrapping("123456789012", "us-east-1"):
        cli.synth({})


def test_bundled_assets_are_there_for_the_next_run(tmp_path: Path) -> None:
    store, first, second = tmp_path / "store", tmp_path / "first", tmp_path / "second"
    (first / "asset.1" / "numpy").mkdir(parents=True)
    (first / "asset.1" / "numpy" / "version.py").write_text("2")
    (first / "asset.2.json").write_text("{}")
    bundled_assets.restore(store, first)  # there is none yet
    bundled_assets.keep(first, store)
    bundled_assets.restore(store, second)
    assert [path.name for path in second.iterdir()] == ["asset.1"]
    assert (second / "asset.1" / "numpy" / "version.py").read_text() == "2"


def test_assets_that_no_run_used_for_a_day_are_deleted(tmp_path: Path) -> None:
    store, assembly = tmp_path / "store", tmp_path / "cdk.out"
    for folder in (store / "asset.old", store / "asset.new", assembly / "asset.used"):
        folder.mkdir(parents=True)
    os.utime(store / "asset.old", (0, 0))
    bundled_assets.keep(assembly, store)
    assert sorted(path.name for path in store.iterdir()) == ["asset.new", "asset.used"]


def page(folder: Path, script: str) -> Path:
    program = folder / "musicgen"
    program.write_text(f"#!{sys.executable}\nimport os, sys\n{script}\n")
    program.chmod(0o755)
    return program


def test_page_gets_stack_and_endpoint_and_its_output_is_shown(tmp_path: Path) -> None:
    out = io.StringIO()
    command = page(tmp_path, "print(sys.argv[1:], os.environ['MUSICGEN_STACK'])")
    demo_page.show(command, {"MUSICGEN_STACK": "MusicGen-dev"}, tmp_path / "log", Report(out, 1))
    assert out.getvalue().strip() == "['ui', '--no-browser'] MusicGen-dev"
    assert "MusicGen-dev" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("script", "reason"), [("sys.exit(2)", "failed with exit code 2"), (None, "which does not exist")]
)
def test_failing_page_is_reported(tmp_path: Path, script: str | None, reason: str) -> None:
    command = page(tmp_path, script) if script else tmp_path / "missing"
    with pytest.raises(StepFailed, match=reason):
        demo_page.show(command, {}, tmp_path / "log", Report(io.StringIO(), 1))


INTERRUPTED = """
import io, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # as the walkthrough does; background jobs ignore it
from local_aws.walkthrough import demo_page
from local_aws.walkthrough.report import Report
demo_page.show(Path(sys.argv[1]), {}, Path(sys.argv[2]), Report(sys.stdout, 1))
print("goes on to destroy")
"""


def test_interruption_ends_the_page_and_the_walkthrough_goes_on(tmp_path: Path) -> None:
    command = page(tmp_path, "import time; print(os.getpid(), flush=True); time.sleep(300)")
    words = [sys.executable, "-c", INTERRUPTED, str(command), str(tmp_path / "log")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read()
    assert child.returncode == 0, rest
    assert "interrupted: removing the stack" in rest and rest.endswith("goes on to destroy\n")
    assert not psutil.pid_exists(pid)


def test_players_are_those_of_the_client() -> None:
    assert tuple(program for program, *_ in play._PLAYERS) == user_shell.PLAYERS  # pyright: ignore[reportPrivateUsage]
