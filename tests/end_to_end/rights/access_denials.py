"""The failure of a probe of a deployed stack, and the requests that the embedded AWS denied during it."""

import time
from collections.abc import Callable
from typing import Any

from local_aws.emulator.process import LocalAws

PROBE_PREFIX = "probe-"  # of the names of endpoints that probes create
_TIMEOUT = 90.0  # seconds for any event on two busy cores
_GRACE = 2.0  # seconds left for it after a denial


class ProbeFailed(Exception):
    """The probe's expectation was not met."""


class AccessDenials:
    """The requests of one role that the embedded AWS has denied since this object was created, from its log."""

    def __init__(self, aws: LocalAws, role: str) -> None:
        self._log, self._role = aws.log_path, role
        self._start = self._log.stat().st_size

    def lines(self) -> list[str]:
        """Return the log lines of the denials."""
        with self._log.open("rb") as file:
            file.seek(self._start)
            lines = file.read().decode(errors="replace").splitlines()
        own = (line for line in lines if "not authorized to perform" in line and f"/{self._role}/" in line)
        # The role may not use the log group of an endpoint that a probe created.
        return [line for line in own if f"/Endpoints/{PROBE_PREFIX}" not in line]

    def wait(self, what: str, condition: Callable[[], Any]) -> Any:
        """Return the first true value of `condition`. Raise ProbeFailed soon after a denial, or after a timeout."""
        end = time.monotonic() + _TIMEOUT
        denied = False
        while time.monotonic() < end:
            if value := condition():
                return value
            if not denied and self.lines():
                denied, end = True, time.monotonic() + _GRACE
            time.sleep(0.1)
        raise ProbeFailed(f"timed out waiting for {what}")
