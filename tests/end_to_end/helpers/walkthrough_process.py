"""Run the walkthrough as a child process and observe it."""

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[3]
DEPLOY_TIMEOUT = 900.0  # seconds, on two busy cores; a run takes about two minutes on idle ones
STOP_TIMEOUT = 300.0  # seconds


@dataclass(frozen=True)
class Finished:
    """A child process that has ended."""

    code: int
    output: str


class WalkthroughProcess:
    """`python -m local_aws.walkthrough` as a child process whose output goes to a file."""

    def __init__(self, state: Path, *words: str, environment: dict[str, str] | None = None) -> None:
        self.state = state
        self.log = state.with_suffix(".txt")
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local_aws.walkthrough", "--state", str(state), *words],
                cwd=PROJECT,
                env=environment or tool_environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, text: str, timeout: float) -> None:
        """Wait until the output contains `text`. Fail the test if the process ends first."""
        deadline = time.monotonic() + timeout
        while text not in self.log.read_text():
            assert self.process.poll() is None, f"ended before it printed {text!r}:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"did not print {text!r} in {timeout:.0f} s:\n{self.log.read_text()}"
            time.sleep(0.2)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def finish(self, timeout: float) -> Finished:
        """Wait for the end. Kill the process and fail the test after a timeout."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            pytest.fail(f"did not end in {timeout:.0f} s:\n{self.log.read_text()}")
        return Finished(code, self.log.read_text())

    def leftover_processes(self) -> list[str]:
        """Return the command lines of processes that still refer to this run's folder."""
        return [line for line in _command_lines() if str(self.state) in line]


def _command_lines() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile


def tool_environment() -> dict[str, str]:
    """Return the environment that make exports: tools on PATH, source roots on PYTHONPATH."""
    roots = [PROJECT, PROJECT / "lambda", PROJECT / "model_bundle" / "code", PROJECT / "local"]
    tools = [Path(sys.executable).parent, PROJECT / "node_modules" / ".bin"]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*map(str, tools), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(map(str, roots)),
        "JSII_RUNTIME_PACKAGE_CACHE": "enabled",
    }


@dataclass(frozen=True)
class MakeLocalRun:
    """A run from synth to destroy, with the results of the notebook and the sample's client."""

    state: Path
    finished: Finished
    notebook: Finished
    notebook_outputs: str
    sample: Finished
    printed_commands: dict[str, Finished]
    readme_commands: dict[str, Finished]
    leftover_processes: list[str]

    def sample_response(self) -> dict[str, Any]:
        return json.loads(self.sample.output.splitlines()[-1])


def printed_commands(output: str) -> list[str]:
    """Return the commands that the walkthrough suggests for another shell; the first sources the environment file."""
    lines = output.partition("In another shell:\n")[2].splitlines()
    return [line.strip() for line in itertools.takewhile(str.strip, lines)]


def readme_commands() -> list[str]:
    """Return the commands of the README's first section, without comments."""
    section = (PROJECT / "README.md").read_text(encoding="utf-8").partition("**Deploy it**")[0]
    blocks = re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


class FreshShell:
    """A user's other shell: nothing but HOME and PATH is set, and there is a program that plays sounds."""

    def __init__(self, home: Path) -> None:
        self.home, self.played = home, home / "played"
        player = home / "player" / "aplay"
        player.parent.mkdir(parents=True)
        player.write_text(f'#!/bin/sh\ncp "$2" {shlex.quote(str(self.played))}\n', encoding="utf-8")
        player.chmod(0o755)

    @property
    def path(self) -> str:
        return f"{self.home / 'player'}:/usr/bin:/bin"

    def run(self, source: str, command: str) -> Finished:
        """Run a command after `source`, the line that the walkthrough or the README gives."""
        done = subprocess.run(
            ["bash", "-c", f"{source} && {command}"],
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": self.path},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Finished(done.returncode, done.stdout + done.stderr)


def run_in_shell(state: Path, command: str) -> Finished:
    """Run a command as the walkthrough explains: after sourcing the environment file."""
    done = subprocess.run(
        ["bash", "-c", f"source {state / 'environment.sh'} && exec {command}"],
        cwd=PROJECT,
        env=tool_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Finished(done.returncode, done.stdout + done.stderr if done.returncode else done.stdout)
