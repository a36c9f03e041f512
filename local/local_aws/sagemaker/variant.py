"""A production variant in operation: as many instances as desired, each replaced when it fails."""

import functools
import threading
import time
from collections.abc import Callable, Sequence

from botocore.exceptions import CredentialRetrievalError

from local_aws.sagemaker.endpoint_config import EndpointConfig
from local_aws.sagemaker.instances.execution_role import RoleSession
from local_aws.sagemaker.instances.instance import Host, Instance
from local_aws.sagemaker.requests.dispatcher import Dispatcher, Note
from local_aws.sagemaker.requests.request_queue import RequestQueue
from local_aws.sagemaker.requests.results import NotificationRefused, ResultWriter

DRAIN_SECONDS = 3600.0  # the longest that an invocation may take
_UNHEALTHY_SECONDS = 60.0
_PERIOD_SECONDS = 0.5
_RETRY_SECONDS = 5.0


class ProvisioningError(Exception):
    """No instance could be brought into service; the text becomes the endpoint's FailureReason."""


class Variant:
    """Runs `config` on instances that take their requests from `queue`; none until `start` or `set_desired`.

    Raises ProvisioningError if its role cannot be assumed.
    """

    def __init__(self, config: EndpointConfig, queue: RequestQueue, host: Host) -> None:
        self.config = config
        self._queue = queue
        self._host = host
        source = f"arn:aws:sagemaker:{config.region}:{config.account}:endpoint/{config.endpoint_name.lower()}"
        try:
            self._role = RoleSession(config.role_arn, config.region, host.runtime, source_arn=source)
        except CredentialRetrievalError as error:
            raise ProvisioningError(
                f"Could not assume role {config.role_arn}. Please ensure that the role exists and allows principal "
                f"'sagemaker.amazonaws.com' to assume the role. ({error})"
            ) from error
        self.results = ResultWriter(config, self._role)
        self._unhealthy_after = min(config.startup_timeout, _UNHEALTHY_SECONDS)  # seconds without a good ping
        self._desired = 0
        self._instances: list[Instance] = []
        self._draining: list[Instance] = []
        self._removing = False
        self._retry_at = 0.0
        self._last_failure = ""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="variant")
        self._thread.start()

    @property
    def desired(self) -> int:
        """DesiredInstanceCount."""
        return self._desired

    @property
    def in_service(self) -> int:
        """CurrentInstanceCount: the instances that take requests now."""
        with self._lock:
            return sum(instance.state == "in service" for instance in self._instances)

    @property
    def settled(self) -> bool:
        """Whether exactly the desired instances are in service, and any others are only finishing their requests."""
        with self._lock:
            states = [instance.state for instance in self._instances]
            finishing = all(instance.busy for instance in self._draining)
        return finishing and not self._removing and states == ["in service"] * self._desired

    def set_desired(self, count: int) -> None:
        """Request `count` instances, 0 or more; return at once.

        Scaling in first stops instances that are starting, then idle ones; busy ones finish their requests.
        """
        if count < 0:
            raise ValueError(f"count must be at least 0, got {count}")
        self._desired = count
        self._wake.set()

    def start(self) -> None:
        """Send the test notifications, start the initial instances and wait until they are in service.

        Raises ProvisioningError if a notification is refused, an instance fails within its own time-outs or the variant
        is stopped; nothing is left running then.
        """
        try:
            self.results.send_test_notifications()
        except NotificationRefused as error:
            self.stop()
            raise ProvisioningError(str(error)) from error
        count = self.config.initial_instance_count
        self.set_desired(count)
        while self.in_service < count:
            if self._last_failure or self._stopped.wait(0.05):
                self.stop()
                raise ProvisioningError(self._last_failure or "The endpoint was deleted.")

    def stop(self, *, drain_seconds: float = 0.0) -> None:
        """Stop all instances, after up to `drain_seconds` for their requests; return when no process runs.

        A second call cuts the draining of the first short.
        """
        self._desired = 0
        self._stopped.set()
        self._wake.set()
        self._thread.join()
        with self._lock:
            instances = self._instances + self._draining
        _in_parallel([functools.partial(instance.drain, drain_seconds) for instance in instances])
        with self._lock:
            self._instances, self._draining = [], []

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._reconcile()
            self._wake.wait(_PERIOD_SECONDS)
            self._wake.clear()

    def _reconcile(self) -> None:
        for instance in list(self._instances):
            instance.check(self._unhealthy_after)
        self._remove([instance for instance in self._instances if instance.state == "failed"])
        surplus = len(self._instances) - self._desired
        if surplus > 0:
            self._scale_in(surplus)
        if surplus < 0 and time.monotonic() >= self._retry_at:
            added = [Instance(self.config, self._role, self._host, self._attach) for _ in range(-surplus)]
            with self._lock:
                self._instances.extend(added)

    def _attach(self, base_url: str, note: Note) -> Dispatcher:
        return Dispatcher(base_url, self.config.concurrency, self._queue, self.results, self._role, note)

    def _scale_in(self, count: int) -> None:
        by_cost = sorted(self._instances, key=lambda instance: (instance.state == "in service", instance.busy))
        leaving = by_cost[:count]
        with self._lock:
            self._instances = [instance for instance in self._instances if instance not in leaving]
            self._draining.extend(leaving)
        for instance in leaving:
            threading.Thread(target=self._drain, args=(instance,), daemon=True, name="variant-drain").start()

    def _drain(self, instance: Instance) -> None:
        instance.drain(DRAIN_SECONDS)
        with self._lock:
            self._draining = [other for other in self._draining if other is not instance]

    def _remove(self, failed: list[Instance]) -> None:
        for instance in failed:
            self._last_failure = instance.failure
            # Immediately replace an instance that had served; one that never started would fail again, so wait.
            self._retry_at = time.monotonic() + (0.0 if instance.served else _RETRY_SECONDS)
        self._removing = bool(failed)
        with self._lock:
            self._instances = [instance for instance in self._instances if instance not in failed]
        _in_parallel([instance.stop for instance in failed])
        self._removing = False


def _in_parallel(actions: Sequence[Callable[[], None]]) -> None:
    threads: list[threading.Thread] = []
    for action in actions:
        thread = threading.Thread(target=action, name="variant-stop")
        try:
            thread.start()
        except RuntimeError:  # Python 3.12 starts no thread while the interpreter exits
            action()
        else:
            threads.append(thread)
    for thread in threads:
        thread.join()
