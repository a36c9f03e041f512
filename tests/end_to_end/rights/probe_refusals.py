"""How a probe of a deployed stack fails, and what the embedded AWS refused meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from local_aws.emulator.process import LocalAws

PROBE = "probe-"  # how the names of endpoints begin that are made to see whether they start
_AT_MOST = 90.0  # seconds for anything to happen on two busy cores
_GRACE = 2.0  # seconds that remain for it once something was refused


class ProbeFailed(Exception):
    """What the probe looked for did not come about."""


class Refusals:
    """What the embedded AWS has refused to one role since this object was made, by its own log."""

    def __init__(self, aws: LocalAws, role: str) -> None:
        self._log, self._role = aws.log_path, role
        self._start = self._log.stat().st_size

    def lines(self) -> list[str]:
        """The refusals, in the log's words."""
        with self._log.open("rb") as file:
            file.seek(self._start)
            lines = file.read().decode(errors="replace").splitlines()
        own = (line for line in lines if "not authorized to perform" in line and f"/{self._role}/" in line)
        return [line for line in own if f"/Endpoints/{PROBE}" not in line]  # whose log group the role may not use

    def wait(self, what: str, condition: Callable[[], Any]) -> Any:
        """The condition's first true value; ProbeFailed soon after a refusal, or when time is up."""
        end = time.monotonic() + _AT_MOST
        refused = False
        while time.monotonic() < end:
            if value := condition():
                return value
            if not refused and self.lines():
                refused, end = True, time.monotonic() + _GRACE
            time.sleep(0.1)
        raise ProbeFailed(f"{what} did not come about")
