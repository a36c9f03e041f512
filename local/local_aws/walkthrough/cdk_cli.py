"""The real CDK command line, run as a child process whose output is shown and kept."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from local_aws.walkthrough.report import Report, StepFailed

_QUIET = ["--no-notices", "--no-version-reporting", "--ci"]


@dataclass(frozen=True)
class CdkCli:
    """`cdk` on one assembly: synthesise it once, then deploy, compare and destroy that very assembly."""

    project: Path
    assembly: Path
    environment: dict[str, str]
    log: Path
    report: Report

    def synth(self, context: dict[str, str]) -> None:
        """Synthesise `app.py` with `context` over the defaults of cdk.json."""
        overrides = [word for key, value in context.items() for word in ("-c", f"{key}={value}")]
        self._run(["synth", "--quiet", "--output", str(self.assembly), *overrides])

    def bootstrap(self, account: str, region: str) -> None:
        """Create CDK's own bootstrap stack, which every account needs once."""
        self._run(["bootstrap", f"aws://{account}/{region}", *self._app()])

    def deploy(self) -> None:
        """Deploy the stack with the CLI's own progress."""
        self._run(["deploy", "--require-approval", "never", "--progress", "events", *self._app()])

    def diff(self) -> None:
        """Compare with what is deployed; any difference is a failure."""
        self._run(["diff", "--fail", *self._app()])

    def destroy(self) -> None:
        """Remove the stack."""
        self._run(["destroy", "--force", *self._app()])

    def _app(self) -> list[str]:
        return ["--app", str(self.assembly)]

    def _run(self, words: list[str]) -> None:
        """Run one command in a process group of its own, so that an interruption can end all of it."""
        command = ["cdk", *words, *_QUIET]
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n")
            child = subprocess.Popen(
                command,
                cwd=self.project,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            try:
                self._show(child, log)
            finally:
                _end_group(child)
        if child.returncode != 0:
            raise StepFailed(f"`cdk {words[0]}` ended with exit code {child.returncode}")

    def _show(self, child: subprocess.Popen[str], log: TextIO) -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                print(line, end="", file=log, flush=True)
                if line.strip():
                    self.report.say(line.rstrip())
        child.wait()


def _end_group(child: subprocess.Popen[str]) -> None:
    """End the command and whatever it started, if any of it is still there."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(timeout=30)
