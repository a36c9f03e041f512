"""Child processes in groups of their own, none of which may outlive the embedded AWS.

Each group's leader is also written to a file in the state folder, so that the process that started the embedded AWS can
end what a killed server left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

_GRACE_SECONDS = 5.0
_groups: dict[int, subprocess.Popen[Any]] = {}
_lock = threading.Lock()
_closing = threading.Event()


def spawn(command: Sequence[str], *, registry: Path, **options: Any) -> subprocess.Popen[Any]:
    """Start `command` as the leader of its own process group; `options` are those of `subprocess.Popen`."""
    with _lock:
        if _closing.is_set():
            raise RuntimeError("the embedded AWS is shutting down and starts no further process")
        process = subprocess.Popen(command, start_new_session=True, **options)
        _groups[process.pid] = process
    registry.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(psutil.NoSuchProcess):  # it may be over already
        (registry / str(process.pid)).write_text(repr(psutil.Process(process.pid).create_time()), encoding="ascii")
    return process


def end(process: subprocess.Popen[Any], *, registry: Path, grace_seconds: float = _GRACE_SECONDS) -> None:
    """End the whole group that `process` leads: first SIGTERM, after `grace_seconds` SIGKILL. Harmless if over."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_seconds)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    with _lock:
        _groups.pop(process.pid, None)
    (registry / str(process.pid)).unlink(missing_ok=True)


def end_all(*, registry: Path) -> None:
    """End every group that this process started, and start no more."""
    with _lock:
        _closing.set()
        groups = list(_groups.values())
    for process in groups:
        _signal_group(process.pid, signal.SIGTERM)
    for process in groups:
        end(process, registry=registry)


def end_leftovers(registry: Path) -> list[int]:
    """End the groups that a dead server left in `registry`; return their process ids."""
    if not registry.is_dir():
        return []
    ended: list[int] = []
    for record in registry.iterdir():
        if _is_same_process(int(record.name), float(record.read_text(encoding="ascii") or "0")):
            _signal_group(int(record.name), signal.SIGKILL)
            ended.append(int(record.name))
        record.unlink(missing_ok=True)
    return ended


def _is_same_process(pid: int, started: float) -> bool:
    # The number may by now belong to a stranger: only the start time tells. A dead leader's number is not given away
    # while its group lives, so then the group is ours.
    with contextlib.suppress(psutil.NoSuchProcess):
        return abs(psutil.Process(pid).create_time() - started) < 1
    return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def wait_until_gone(pid: int, timeout_seconds: float) -> bool:
    """Whether process `pid` ends within `timeout_seconds`."""
    deadline = time.monotonic() + timeout_seconds
    while psutil.pid_exists(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
