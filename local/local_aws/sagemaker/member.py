"""One place of a fleet: an instance on its way up, in service, or gone, and the dispatcher that feeds it."""

import logging
import threading
import time
from collections.abc import Callable

from local_aws.sagemaker.dispatcher import Dispatcher
from local_aws.sagemaker.errors import ProvisioningError, Stopped
from local_aws.sagemaker.instance import Instance

_log = logging.getLogger(__name__)
_JOIN_SECONDS = 15.0

Attach = Callable[[Instance], Dispatcher]


class Member:
    """Brings `instance` up in a thread of its own; `attach` starts its dispatcher once it is in service.

    `state` is "starting", "in service" or "failed" (with `failure`); `served` tells whether it ever was in service.
    `stop()` ends it from any of them.
    """

    def __init__(self, instance: Instance, attach: Attach) -> None:
        self.instance = instance
        self.state = "starting"
        self.failure = ""
        self.served = False
        self.last_healthy = time.monotonic()
        self._attach = attach
        self._dispatcher: Dispatcher | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._start, daemon=True, name=instance.instance_id)
        self._thread.start()

    def check(self, unhealthy_after: float) -> None:
        """Looks at an instance in service: it has failed when its process ended or no ping succeeded for too long.

        `unhealthy_after` is in seconds: a worker that died is back after it has loaded the model again.
        """
        if self.state != "in service":
            return
        if self.instance.healthy():
            self.last_healthy = time.monotonic()
        elif not self.instance.alive() or time.monotonic() - self.last_healthy > unhealthy_after:
            self._fail("the container ended or stopped answering its ping")

    @property
    def busy(self) -> int:
        """Requests in progress on the instance."""
        return self._dispatcher.busy if self._dispatcher else 0

    def drain(self, timeout: float) -> None:
        """Lets requests in progress end, for `timeout` seconds at most, then stops."""
        if self._dispatcher:
            self._dispatcher.stop_taking()
            self._dispatcher.join(timeout)
        self.stop()

    def stop(self) -> None:
        """Ends the instance; requests that it works on return to the backlog."""
        with self._lock:
            self._stopped = True
            dispatcher = self._dispatcher
        if dispatcher:
            dispatcher.stop_taking()
        self.instance.stop()
        if dispatcher:
            dispatcher.join(_JOIN_SECONDS)
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_SECONDS)

    def _start(self) -> None:
        try:
            self.instance.start()
        except Stopped:
            self.instance.stop()
        except ProvisioningError as error:
            self._fail(str(error))
        except Exception as error:  # a thread that died silently would leave the endpoint in Creating for ever
            _log.exception("instance %s", self.instance.instance_id)
            self._fail(f"InternalServerError: {type(error).__name__}: {error}")
        else:
            self._enter_service()

    def _enter_service(self) -> None:
        with self._lock:
            if self._stopped:
                return
            self.last_healthy = time.monotonic()
            self._dispatcher = self._attach(self.instance)
            self.served = True
            self.state = "in service"

    def _fail(self, reason: str) -> None:
        _log.warning("instance %s: %s", self.instance.instance_id, reason)
        self.failure = reason
        self.state = "failed"
