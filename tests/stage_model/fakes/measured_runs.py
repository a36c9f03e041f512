"""Runs the handler in processes of its own and measures their peak memory from outside.

One process imports the handler, makes its S3 client and forks a child for each event, so that all start from the same
memory, as the invocations of one container. `VmHWM` counts from the fork; `wait4`'s `ru_maxrss` would count the
parent's memory too.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ROOT = Path(__file__).parents[3]
_SECONDS = 60.0  # that an invocation has, of which the handler reserves itself 60
_TOO_MUCH = 6 << 30  # bytes of address space: a hostile input must not take the machine's memory


@dataclass(frozen=True)
class Measurement:
    """A run that ended: its peak memory in bytes, and CPU seconds."""

    peak: int
    cpu_s: float


class MeasuredRuns:
    """Runs events, one at a time, with these environment variables."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment, "PYTHONPATH": f"{_ROOT}:{_ROOT / 'lambda'}"}

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment, cwd=_ROOT
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def run(self, event: Mapping[str, Any]) -> Measurement:
        """Serve an event to the end of its invocation."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(event) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        self._process.stdin.write("end\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ended\n"
        cpu_s = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        return Measurement(int(status["VmHWM"].split()[0]) << 10, cpu_s)


class _Context:
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:stage"

    def get_remaining_time_in_millis(self) -> int:
        return int((60 + _SECONDS) * 1000)


def _serve() -> None:
    import resource

    from stage_model.handler import handler
    from stage_model.s3 import s3_client

    s3_client()  # it takes a tenth of a second, and has no connection yet
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            print("ended", flush=True)  # the child may read ahead of its own line
            continue
        resource.setrlimit(resource.RLIMIT_AS, (_TOO_MUCH, _TOO_MUCH))
        try:
            handler(json.loads(line), _Context())
        finally:
            print(os.getpid(), flush=True)
            sys.stdin.readline()  # the parent measures until then
            os._exit(0)


if __name__ == "__main__":
    _serve()
