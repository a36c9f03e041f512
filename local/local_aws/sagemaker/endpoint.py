"""Asynchronous endpoints: creation, update, scaling and deletion of each, and the registry of them all."""

import functools
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from local_aws.emulator.clients import Runtime
from local_aws.sagemaker.endpoint_config import EndpointConfig
from local_aws.sagemaker.instances.container import Launch
from local_aws.sagemaker.instances.execution_role import CredentialsServer
from local_aws.sagemaker.instances.instance import Host
from local_aws.sagemaker.requests.request_queue import RequestQueue
from local_aws.sagemaker.requests.results import NotificationRefused
from local_aws.sagemaker.variant import DRAIN_SECONDS, ProvisioningError, Variant

_log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.25


class EndpointRecord(Protocol):
    """moto's endpoint, which the API calls describe."""

    endpoint_status: str
    failure_reason: str | None
    endpoint_config_name: str
    production_variants: list[dict[str, Any]]
    last_modified_time: datetime


class EndpointKey(NamedTuple):
    account: str
    region: str
    name: str


class PendingDeployment(NamedTuple):
    """A configuration that an endpoint is being created with or updated to."""

    config: EndpointConfig
    started_at: datetime


class EndpointRegistry:
    """All endpoints of one embedded AWS; `launch` starts their containers."""

    def __init__(self, runtime: Runtime, launch: Launch) -> None:
        self._host = Host(runtime, CredentialsServer(), launch)
        self._endpoints: dict[EndpointKey, Endpoint] = {}
        self._lock = threading.Lock()

    def create(self, key: EndpointKey, record: EndpointRecord, config: EndpointConfig) -> None:
        """Start an endpoint, which from now on keeps the status in moto's `record`."""
        with self._lock:
            self._endpoints[key] = Endpoint(record, config, self._host)

    def find(self, key: EndpointKey) -> "Endpoint | None":
        """Return the endpoint, whatever its status."""
        with self._lock:
            return self._endpoints.get(key)

    def all(self) -> dict[EndpointKey, "Endpoint"]:
        """Return every endpoint, whatever its status."""
        with self._lock:
            return dict(self._endpoints)

    def remove(self, key: EndpointKey) -> None:
        """Remove an endpoint that has stopped."""
        with self._lock:
            self._endpoints.pop(key, None)

    def shutdown(self) -> None:
        """Stop every endpoint without answering its requests; return when no process runs."""
        with self._lock:
            endpoints = list(self._endpoints.values())
            self._endpoints.clear()
        for endpoint in endpoints:
            endpoint.queue.discard()
            endpoint.stop()
        self._host.credentials.close()


class Endpoint:
    """One endpoint, whose status is in `record`. API calls return at once; the work continues in threads.

    The queue survives updates; `variant` is what serves, and None until the endpoint is first in service.
    """

    def __init__(self, record: EndpointRecord, config: EndpointConfig, host: Host) -> None:
        self.record = record
        self.deployed = config  # or, until the endpoint is first in service, what is being deployed
        self.pending: PendingDeployment | None = PendingDeployment(config, datetime.now(UTC))
        self.queue = RequestQueue()
        self.variant: Variant | None = None
        self._host = host
        self._variants: list[Variant] = []  # starting, serving and draining
        self._scaling = False
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        record.endpoint_status = "Creating"
        self._update_counts()
        self._spawn(lambda: self._create(config))
        self._spawn(self._watch)

    def update(self, config: EndpointConfig) -> None:
        """Start a new variant next to the old one, then drain and stop the old one; on failure the old one stays."""
        self.pending = PendingDeployment(config, datetime.now(UTC))
        self._set_status("Updating")
        self._spawn(lambda: self._update(config))

    def scale(self, count: int) -> None:
        """Request `count` instances; the status is Updating until they are in service."""
        if self.variant:
            with self._lock:
                self._set_status("Updating")
                self.variant.set_desired(count)
                self._scaling = True
                self._spawn(functools.partial(_test_topics, self.variant))

    def delete(self, on_deleted: Callable[[], None]) -> None:
        """Stop the endpoint in the background, then call `on_deleted`."""
        self._set_status("Deleting")

        def work() -> None:
            self.stop()
            on_deleted()

        self._spawn(work)

    def stop(self) -> None:
        """Fail the waiting requests and stop all instances; return when none of their processes runs."""
        with self._lock:
            self._stopped.set()
            waiting = self.queue.close()
            variants = list(self._variants)
        for request in waiting:
            if self.variant:
                self.variant.results.fail(request, "ClientError: The endpoint was deleted.")
            self.queue.finish(request)
        for variant in variants:
            variant.stop()

    def _create(self, config: EndpointConfig) -> None:
        try:
            self._start_variant(config)
        except ProvisioningError as error:
            self._set_status("Failed", str(error))
        else:
            self._set_status("InService")
        self.pending = None

    def _update(self, config: EndpointConfig) -> None:
        try:
            old = self._start_variant(config)
        except ProvisioningError as error:
            self.pending = None
            self._set_status("InService", str(error))  # AWS rolls back: in service as before, with the reason
            return
        self.record.endpoint_config_name = config.endpoint_config_name
        self.deployed, self.pending = config, None
        for variant in self.record.production_variants:
            variant["DesiredInstanceCount"] = config.initial_instance_count
        self._set_status("InService")
        if old:
            old.stop(drain_seconds=DRAIN_SECONDS)
            self._variants.remove(old)

    def _start_variant(self, config: EndpointConfig) -> Variant | None:
        """Start a variant and put it in place of the current one, which is returned."""
        variant = Variant(config, self.queue, self._host)
        with self._lock:
            self._variants.append(variant)
        try:
            if self._stopped.is_set():
                raise ProvisioningError("The endpoint was deleted.")
            variant.start()
        except ProvisioningError:
            variant.stop()
            self._variants.remove(variant)
            raise
        with self._lock:
            old, self.variant = self.variant, variant
        return old

    def _watch(self) -> None:
        while not self._stopped.wait(_WATCH_SECONDS):
            if variant := self.variant:
                for request in self.queue.take_expired():
                    variant.results.expire(request)
                    self.queue.finish(request)
                self._update_counts()
                with self._lock:
                    if self._scaling and variant.settled:
                        self._scaling = False
                        self._set_status("InService")

    def _update_counts(self) -> None:
        for variant in self.record.production_variants:
            variant["CurrentInstanceCount"] = self.variant.in_service if self.variant else 0

    def _set_status(self, status: str, reason: str | None = None) -> None:
        with self._lock:
            if self._stopped.is_set() or self.record.endpoint_status == "Deleting":
                return
            self._update_counts()  # first: who sees the status may look at the counts
            self.record.endpoint_status = status
            self.record.failure_reason = reason
            self.record.last_modified_time = datetime.now(UTC).replace(tzinfo=None)  # as moto keeps it

    def _spawn(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True, name=type(self).__name__).start()


def _test_topics(variant: Variant) -> None:
    """Send the test notifications of a capacity change; what AWS does if they are refused then is not documented."""
    try:
        variant.results.send_test_notifications()
    except NotificationRefused as error:
        _log.warning("test notification after a capacity change: %s", error)
