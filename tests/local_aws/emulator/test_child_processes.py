"""Process groups: ended as a whole, also when their leader is dead; and what their exit codes mean."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local_aws.emulator import child_processes
from local_aws.emulator.child_processes import describe_exit

# Starts a child that ignores SIGTERM, prints its id and ends at once: the child is an orphan in a group without leader.
LEADER = """
import subprocess, sys
ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(300)"
child = subprocess.Popen([sys.executable, "-c", ignoring], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
"""


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_ended(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


@pytest.fixture
def orphaned(tmp_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A leader that has ended and been waited for, and its orphan."""
    leader = child_processes.spawn([sys.executable, "-c", LEADER], registry=tmp_path, stdout=subprocess.PIPE)
    assert leader.stdout
    orphan = int(leader.stdout.readline())
    leader.stdout.close()
    assert leader.wait(10) == 0
    assert is_running(orphan)
    return leader, orphan


def test_end_ends_a_group_whose_leader_is_dead(orphaned: tuple[subprocess.Popen[bytes], int], tmp_path: Path) -> None:
    leader, orphan = orphaned
    child_processes.end(leader, registry=tmp_path)
    assert has_ended(orphan)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_include_a_group_whose_leader_is_dead(
    orphaned: tuple[subprocess.Popen[bytes], int], tmp_path: Path
) -> None:
    leader, orphan = orphaned
    assert child_processes.end_leftovers(tmp_path) == [leader.pid]
    assert has_ended(orphan)
    child_processes.end(leader, registry=tmp_path)  # forget it


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (1, "failed with exit code 1"),
        (-9, "was killed by signal 9 (SIGKILL)"),
        (247, "was killed by signal 9 (SIGKILL)"),
        (137, "was killed by signal 9 (SIGKILL)"),
        (-signal.SIGSEGV, "was killed by signal 11 (SIGSEGV)"),
        (255, "failed with exit code 255"),
    ],
)
def test_exit_code_is_described(code: int, meaning: str) -> None:
    assert describe_exit(code) == meaning
