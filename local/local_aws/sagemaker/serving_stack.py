"""One container, as a process group of this machine: the real serving stack on a port of 127.0.0.1."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import psutil

from local_aws.emulator import child_processes, clients

_LAUNCHER = Path(__file__).with_name("launcher.py")
_END_SECONDS = 5.0


class Container(Protocol):
    """What an instance needs of a container. `base_url` serves GET /ping and POST /invocations."""

    base_url: str

    def alive(self) -> bool:
        """Whether the container's first process still runs."""
        ...

    def stop(self) -> None:
        """Ends everything that the container started; returns when it has ended. May be called twice."""
        ...


class ServingStack:
    """The Hugging Face serving toolkit, multi-model-server and its workers, in a session of their own."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        """`environment` is the container's whole environment (see `container_environment`); output goes to `log`."""
        self.base_url = f"http://127.0.0.1:{environment['SAGEMAKER_BIND_TO_PORT']}"
        self._registry = clients.runtime().state / "children"
        with log.open("ab") as output:
            # -P keeps this package's modules off the container's import path.
            self._process = child_processes.spawn(
                [sys.executable, "-P", str(_LAUNCHER)],
                registry=self._registry,
                env=dict(environment),
                cwd=environment["TMPDIR"],
                stdin=subprocess.PIPE,  # held open: the launcher ends its session when this process is gone
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Process id of the launcher, which is the id of the process group and session too."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the launcher still runs: it ends when multi-model-server ends, as a container does."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the session, politely first; returns when none of its processes runs."""
        child_processes.end(self._process, registry=self._registry)
        if self._process.stdin:
            self._process.stdin.close()
        deadline = time.monotonic() + _END_SECONDS
        while session_members(self.pid) and time.monotonic() < deadline:
            time.sleep(0.02)


def session_members(session: int) -> list[int]:
    """Ids of the running processes of a session, without zombies that nobody has collected yet."""
    members: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members
