"""Run the client's page (`musicgen ui`) against the embedded AWS."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from local_aws.emulator.child_processes import describe_exit
from local_aws.walkthrough.report import Report, StepFailed

_GRACE_SECONDS = 10.0


def show(command: Path, environment: Mapping[str, str], log: Path, report: Report) -> None:
    """Run `command ui` until it ends or Ctrl-C, and print what it prints. It opens a browser only from a terminal.

    Raise StepFailed if the command does not exist or fails by itself.
    """
    words = [str(command), "ui", *([] if sys.stdout.isatty() else ["--no-browser"])]
    try:
        page = subprocess.Popen(
            words,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only this process, which ends the page
        )
    except FileNotFoundError as error:
        raise StepFailed(f"the page needs the command {command}, which does not exist") from error
    assert page.stdout is not None
    reader = threading.Thread(target=_copy, args=(page.stdout, log, report), daemon=True)
    try:
        reader.start()  # here: Ctrl-C may come before it returns
        code = page.wait()
    except KeyboardInterrupt:
        report.say("interrupted: removing the stack")
        return
    finally:
        _end(page)
        if reader.is_alive():
            reader.join(_GRACE_SECONDS)
    if code != 0:
        raise StepFailed(f"`musicgen ui` {describe_exit(code)}; its output is in {log}")


def _copy(lines: IO[str], log: Path, report: Report) -> None:
    with lines, log.open("a", encoding="utf-8") as file:
        for line in lines:
            print(line, end="", file=file, flush=True)
            report.say(line.rstrip())


def _end(page: subprocess.Popen[str]) -> None:
    """End the page and all that it started."""
    if page.poll() is None:
        os.killpg(page.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            page.wait(_GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(page.pid, signal.SIGKILL)
    page.wait()
