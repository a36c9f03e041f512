"""Run the real CDK CLI as a child process; show and log its output."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

from local_aws.emulator.child_processes import describe_exit
from local_aws.walkthrough.report import Report, StepFailed

_GRACE_SECONDS = 30.0  # for the CLI to end, and for its last output
_FAST_POLLING = Path(__file__).with_name("fast_polling.js")
_QUIET = ["--no-notices", "--no-version-reporting", "--ci"]
# "MusicGen-dev | 24/49 | 12:05:26 AM | CREATE_COMPLETE | AWS::IAM::Policy | StagedModel/Role/DefaultPolicy (Sta…)"
_EVENT = re.compile(r"^.+? \| +(\d+)(?:/(\d+))? \|.+?\| (\w+) +\| (\S+) +\| (\S+)")


@dataclass(frozen=True)
class CdkCli:
    """`cdk` on one cloud assembly: synthesise it once, then deploy, diff and destroy exactly that assembly."""

    project: Path
    assembly: Path
    environment: dict[str, str]
    log: Path
    report: Report

    def synth(self, context: dict[str, str]) -> None:
        """Synthesise `app.py` with `context` over the defaults of cdk.json."""
        overrides = [word for key, value in context.items() for word in ("-c", f"{key}={value}")]
        self._run("synth", "--quiet", "--output", str(self.assembly), *overrides)

    def bootstrapping(self, account: str, region: str) -> AbstractContextManager[None]:
        """Bootstrap while the block runs, which needs no assembly, and wait at its end. End it if the block raises."""
        # Not in the project's folder: there the CLI would run the app a second time.
        return self._running("bootstrap", f"aws://{account}/{region}", folder=self.log.parent)

    def deploy(self) -> None:
        self._run("deploy", "--require-approval", "never", "--progress", "events", "--app", str(self.assembly))

    def diff(self) -> None:
        """Compare with the deployed stack. Raise StepFailed if they differ."""
        self._run("diff", "--fail", "--app", str(self.assembly))

    def destroy(self) -> None:
        self._run("destroy", "--force", "--app", str(self.assembly))

    def _run(self, *words: str) -> None:
        with self._running(*words):
            pass

    @contextmanager
    def _running(self, *words: str, folder: Path | None = None) -> Generator[None]:
        """Run one command in its own process group, so that an interruption can end all of it."""
        command = ["cdk", *words, *_QUIET]
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            child = subprocess.Popen(
                command,
                cwd=folder or self.project,
                env=with_fast_polling(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            assert child.stdout is not None
            # In a thread: what the CLI leaves behind when it is killed holds the pipe open.
            reader = threading.Thread(target=self._copy, args=(child.stdout, log), daemon=True)
            reader.start()
            try:
                yield
                child.wait()
            finally:
                _end_group(child)
                reader.join(_GRACE_SECONDS)
        if child.returncode != 0:
            raise StepFailed(f"`cdk {words[0]}` {describe_exit(child.returncode)}")

    def _copy(self, lines: IO[str], log: TextIO) -> None:
        with lines:
            for line in lines:
                print(line, end="", file=log, flush=True)
                if line.strip():
                    self.report.progress(line.rstrip(), describe_event(line))


def with_fast_polling(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a CLI that does not sleep five seconds whenever it waits for the embedded AWS."""
    options = [environment.get("NODE_OPTIONS", ""), f'--require "{_FAST_POLLING}"']
    return {**environment, "NODE_OPTIONS": " ".join(filter(None, options))}


def describe_event(line: str) -> str | None:
    """Return an event as "24 of 49 resources: CREATE_COMPLETE AWS::IAM::Policy Role/Default", None for another line."""
    event = _EVENT.match(line)
    if not event:
        return None
    done, total, status, kind, name = event.groups()
    return f"{done}{f' of {total}' if total else ''} resources: {status} {kind} {name}"


def _end_group(leader: subprocess.Popen[str]) -> None:
    """End all that the CLI started, also if it has ended itself: first with SIGTERM if it still runs."""
    if leader.poll() is None:
        os.killpg(leader.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            leader.wait(_GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # the usual case: there is nothing left
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()
