"""Reading an S3 object's body until a deadline."""

import time
from collections.abc import Callable
from typing import IO, Any

from local_aws.sagemaker.errors import ProvisioningError


class Limit:
    """How long a model's download may take: `timeout` seconds from now, and not once `check_stopped` raises."""

    def __init__(self, timeout: float, check_stopped: Callable[[], None]) -> None:
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._check_stopped = check_stopped

    def check(self) -> None:
        """Raises ProvisioningError when time is up, or what `check_stopped` raises."""
        self._check_stopped()
        if time.monotonic() > self._deadline:
            raise ProvisioningError(
                f"The model data download took longer than ModelDataDownloadTimeoutInSeconds ({self._timeout:g})."
            )


class BoundedBody(IO[bytes]):
    """A body that asks its limit before each read."""

    def __init__(self, body: Any, limit: Limit) -> None:
        self._body = body
        self._limit = limit

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes at most."""
        self._limit.check()
        return self._body.read(size)
