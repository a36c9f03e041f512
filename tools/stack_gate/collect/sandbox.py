"""Run a revision's code where it can gain nothing: no network, no secret, no file but its own, bounded time and memory.

Uses Linux namespaces through util-linux's `unshare`, with a user namespace or, for root where those are forbidden,
without. Where neither works the command runs with the same small environment, time and memory, but unisolated, and the
report says so.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from json import dumps
from pathlib import Path

from stack_gate import GateError

MEMORY_BYTES = 3 << 30  # of all processes together
MAX_PROCESSES = 200
MAX_OUTPUT_CHARACTERS = 3000
WATCH_SECONDS = 0.1
LIMITS = {
    "RLIMIT_CORE": 0,
    "RLIMIT_CPU": 600,
    "RLIMIT_DATA": MEMORY_BYTES,  # not RLIMIT_AS: Node reserves far more addresses than it uses
    "RLIMIT_FSIZE": 1 << 30,
    "RLIMIT_NOFILE": 4096,
}
_NAMESPACES = ("--net", "--pid", "--mount", "--ipc", "--uts", "--fork", "--kill-child")
_INIT = Path(__file__).with_name("sandbox_init.py")
# What programs need of /etc: the linker's cache, Debian's alternatives, names of users. No host names, no keys.
_SYSTEM = ("/usr", "/etc/ld.so.cache", "/etc/alternatives", "/etc/passwd", "/etc/group", "/etc/localtime")
_POSSIBLE_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Exit status and the end of what a command wrote."""

    code: int
    output: str


@cache
def isolation() -> tuple[str, ...] | None:
    """Return the `unshare` command that isolates here, None if there is none."""
    unshare = shutil.which("unshare")
    if unshare is None or not sys.platform.startswith("linux"):
        return None
    for user in (("--user", "--map-root-user"), ()):
        command = (unshare, *user, *_NAMESPACES)
        with tempfile.TemporaryDirectory(prefix="stack-gate-") as folder:
            done = subprocess.run(
                [*_start(command, Path(folder), [], [], Path("/")), sys.executable, "-I", "-c", ""],
                capture_output=True,
                env={},
            )
        if done.returncode == 0:
            return command
    return None


def run(
    command: Sequence[str],
    *,
    folder: Path,
    variables: Mapping[str, str],
    read_only: Sequence[Path],
    writable: Sequence[Path],
    timeout_seconds: float,
    memory_bytes: int = MEMORY_BYTES,
) -> Finished:
    """Run a command in `folder`, isolated if that is possible here, with exactly these environment variables.

    Besides the system's programs, the running Python and Node, only `read_only` and `writable` exist for it. Raise
    GateError if it takes too long, too much memory or too many processes, or if the sandbox could not be set up.
    """
    isolate = isolation()
    with tempfile.TemporaryDirectory(prefix="stack-gate-") as root, tempfile.TemporaryFile("w+b") as output:
        start = [] if isolate is None else _start(isolate, Path(root), read_only, writable, folder)
        process = subprocess.Popen(
            [*start, *command],
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            reason = _watch(process, timeout_seconds, memory_bytes)
        finally:
            _kill(process)
        end = max(0, output.tell() - 4 * MAX_OUTPUT_CHARACTERS)
        output.seek(end)
        text = output.read(4 * MAX_OUTPUT_CHARACTERS).decode(errors="replace").strip()[-MAX_OUTPUT_CHARACTERS:]
    if reason:
        raise GateError(reason)
    if isolate is not None and process.returncode == 126:
        raise GateError(f"the sandbox could not be set up: {text}")
    return Finished(code=process.returncode, output=text)


def _start(
    isolate: Sequence[str], root: Path, read_only: Sequence[Path], writable: Sequence[Path], folder: Path
) -> list[str]:
    """Return the command of a sandbox's first process."""
    system = [Path(path) for path in _SYSTEM if Path(path).exists()]
    system += [Path(path) for path in _POSSIBLE_SYSTEM if Path(path).is_dir() and not Path(path).is_symlink()]
    visible = _outermost([*system, *_programs(), *read_only])
    specification = {
        "root": str(root),
        "read_only": [str(path) for path in visible],
        "writable": [str(path) for path in writable],
        "folder": str(folder),
        "limits": LIMITS,
        "user_namespace": "--user" in isolate,
    }
    return [*isolate, sys.executable, "-I", str(_INIT), dumps(specification)]


@cache
def _programs() -> tuple[Path, ...]:
    """Return the folders of the running Python, its virtualenv, and Node, by every name they are called by."""
    folders = [Path(sys.prefix), Path(sys.base_prefix), Path(sysconfig.get_path("stdlib")).parents[1]]
    node = shutil.which("node")
    if node is not None:
        folders += [Path(node).parent, Path(node).resolve().parent]
    return tuple(dict.fromkeys(path for folder in folders for path in (folder, folder.resolve())))


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that lie in no other of them."""
    unique = list(dict.fromkeys(paths))
    return [path for path in unique if not any(other in path.parents for other in unique)]


def _watch(process: subprocess.Popen[bytes], timeout_seconds: float, memory_bytes: int) -> str:
    """Wait for the process. Return why it has to be killed, "" if it ended by itself."""
    deadline = time.monotonic() + timeout_seconds
    ended = threading.Event()
    waiter = threading.Thread(target=lambda: (process.wait(), ended.set()), daemon=True)
    waiter.start()
    while not ended.wait(WATCH_SECONDS):
        if time.monotonic() > deadline:
            return f"it did not finish within {timeout_seconds:.0f} s"
        count, used = _usage(process.pid)
        if count > MAX_PROCESSES:
            return f"it started more than {MAX_PROCESSES} processes"
        if used > memory_bytes:
            return f"it used more than {memory_bytes >> 30} GiB of memory"
    return ""


def _usage(pid: int) -> tuple[int, int]:
    """Return how many processes descend from one, and their resident bytes."""
    count = pages = 0
    for descendant in _descendants(pid):
        try:
            pages += int(Path(f"/proc/{descendant}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError):  # it ended meanwhile
            continue
        count += 1
    return count, pages * os.sysconf("SC_PAGE_SIZE")


def _descendants(pid: int) -> Iterator[int]:
    pending = [pid]
    while pending:
        current = pending.pop()
        yield current
        for children in Path(f"/proc/{current}/task").glob("*/children"):
            try:
                pending += map(int, children.read_text(encoding="ascii").split())
            except OSError:  # the thread ended meanwhile
                continue


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group. With isolation, the first process takes its whole namespace with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
