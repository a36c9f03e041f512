"""The walkthrough's CDK CLI: how it ends, and what it leaves behind."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local_aws.walkthrough.cdk_cli import CdkCli, with_fast_polling
from local_aws.walkthrough.report import Report, StepFailed


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def cli(tmp_path: Path, output: io.StringIO) -> CdkCli:
    """A CLI whose `cdk` leaves a child that holds its output open, prints the child's id and kills itself."""
    program = tmp_path / "bin" / "cdk"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 300 &\necho child $!\nkill -9 $$\n")
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    return CdkCli(tmp_path, tmp_path / "cdk.out", environment, tmp_path / "cdk.log", Report(output, 1))


def test_killed_cli_is_reported_at_once_and_its_children_end(
    cli: CdkCli, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", cli.environment["PATH"])
    started = time.monotonic()
    with pytest.raises(StepFailed, match=r"^`cdk deploy` was killed by signal 9 \(SIGKILL\)$"):
        cli.deploy()
    assert time.monotonic() - started < 20
    child = int(output.getvalue().split()[-1])
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the CLI's child must end with it"
        time.sleep(0.02)


def test_polling_is_faster_and_other_timers_are_as_asked() -> None:
    """The script is loaded into Node: five seconds become a quarter, one stays, and promises of timers still work."""
    program = """
        const { promisify } = require("node:util");
        const started = Date.now(), passed = [];
        setTimeout((value) => passed.push([value, Date.now() - started]), 5000, "poll");
        promisify(setTimeout)(1000, "other").then((value) => {
            passed.push([value, Date.now() - started]);
            console.log(JSON.stringify(passed));
        });
    """
    node = Path(sys.executable).with_name("node")
    environment = with_fast_polling({**os.environ, "NODE_OPTIONS": "--no-warnings"})
    done = subprocess.run(
        [node, "-e", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    (first, polled), (second, other) = json.loads(done.stdout)
    assert (first, second) == ("poll", "other")
    assert polled < other and other >= 999


def test_polling_is_slower_in_a_command_that_takes_long() -> None:
    """After twenty seconds, a question waits for one: longer than a timer of 0.7 s, and less than one of 1.3 s."""
    program = """
        process.uptime = () => 20;
        const passed = [];
        for (const delay of [1300, 5000, 700]) setTimeout(() => passed.push(delay), delay);
        process.on("exit", () => console.log(JSON.stringify(passed)));
    """
    node = Path(sys.executable).with_name("node")
    done = subprocess.run(
        [node, "-e", program],
        env=with_fast_polling({**os.environ, "NODE_OPTIONS": "--no-warnings"}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == [700, 5000, 1300]
