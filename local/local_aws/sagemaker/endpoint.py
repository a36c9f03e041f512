"""The life of one asynchronous endpoint: creation, update, scaling, deletion; its backlog outlives its deployments."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from local_aws.sagemaker.backlog import Backlog
from local_aws.sagemaker.container_call import Refused
from local_aws.sagemaker.definition import VariantDefinition
from local_aws.sagemaker.deployment import Deployment, Machinery
from local_aws.sagemaker.dispatcher import expire
from local_aws.sagemaker.errors import ProvisioningError

_WATCH_SECONDS = 0.25
_DRAIN_SECONDS = 3600.0  # the longest that an invocation may take


class EndpointRecord(Protocol):
    """moto's endpoint, which the API calls describe."""

    endpoint_status: str
    failure_reason: str | None
    endpoint_config_name: str
    production_variants: list[dict[str, Any]]
    last_modified_time: datetime


class Endpoint:
    """Runs an endpoint behind `record`. API calls return at once; their work goes on in threads of this object."""

    def __init__(self, record: EndpointRecord, definition: VariantDefinition, machinery: Machinery) -> None:
        self.record = record
        self.backlog = Backlog()
        self._machinery = machinery
        self._live: Deployment | None = None
        self._deployments: list[Deployment] = []  # coming up, live and draining
        self._scaling = False
        self._lock = threading.RLock()
        self._ended = threading.Event()
        record.endpoint_status = "Creating"
        self._show_counts()
        self._spawn(lambda: self._create(definition))
        self._spawn(self._watch)

    @property
    def live(self) -> Deployment | None:
        """The deployment that serves; None until the endpoint was first in service."""
        return self._live

    def update(self, definition: VariantDefinition) -> None:
        """Brings a new deployment up beside the old one, then drains and ends the old; on failure the old one stays."""
        self._set_status("Updating")
        self._spawn(lambda: self._update(definition))

    def scale(self, count: int) -> None:
        """Asks the live deployment for `count` instances; the status is Updating until they are there."""
        if self._live:
            with self._lock:
                self._set_status("Updating")
                self._live.fleet.set_desired(count)
                self._scaling = True

    def delete(self, forget: Callable[[], None]) -> None:
        """Ends the instances, fails what still waits, then calls `forget`."""
        self._set_status("Deleting")

        def work() -> None:
            self.end()
            forget()

        self._spawn(work)

    def end(self) -> None:
        """Ends everything of this endpoint; returns when nothing of it runs. Waiting requests are failed."""
        with self._lock:
            self._ended.set()
            left = self.backlog.close()
            deployments = list(self._deployments)
        for request in left:
            if self._live:
                self._live.answers.fail(request, Refused("ClientError: The endpoint was deleted."))
            self.backlog.finish(request)
        for deployment in deployments:
            deployment.fleet.stop()

    def abandon(self) -> None:
        """As `end`, but answers nobody: for the end of the server itself."""
        self.backlog.abandon()
        self.end()

    def _create(self, definition: VariantDefinition) -> None:
        try:
            self._bring_up(definition)
        except ProvisioningError as error:
            self._set_status("Failed", str(error))
        else:
            self._set_status("InService")

    def _update(self, definition: VariantDefinition) -> None:
        try:
            old = self._bring_up(definition)
        except ProvisioningError as error:
            self._set_status("InService", str(error))  # AWS rolls back: in service as before, with the reason
            return
        self.record.endpoint_config_name = definition.endpoint_config_name
        for variant in self.record.production_variants:
            variant["DesiredInstanceCount"] = definition.initial_instance_count
        self._set_status("InService")
        if old:
            old.fleet.stop(drain_seconds=_DRAIN_SECONDS)
            self._deployments.remove(old)

    def _bring_up(self, definition: VariantDefinition) -> Deployment | None:
        """Makes a new deployment the live one; returns the one before it."""
        deployment = Deployment(definition, self.backlog, self._machinery)
        with self._lock:
            self._deployments.append(deployment)
        try:
            if self._ended.is_set():
                raise ProvisioningError("The endpoint was deleted.")
            deployment.bring_up()
        except ProvisioningError:
            deployment.fleet.stop()
            self._deployments.remove(deployment)
            raise
        with self._lock:
            old, self._live = self._live, deployment
        return old

    def _watch(self) -> None:
        while not self._ended.wait(_WATCH_SECONDS):
            live = self._live
            if live:
                for request in self.backlog.take_expired():
                    expire(request, live.answers)
                    self.backlog.finish(request)
                self._show_counts()
                self._settle(live)

    def _settle(self, live: Deployment) -> None:
        with self._lock:
            if self._scaling and live.fleet.settled:
                self._scaling = False
                self._set_status("InService")

    def _show_counts(self) -> None:
        for variant in self.record.production_variants:
            variant["CurrentInstanceCount"] = self._live.fleet.in_service if self._live else 0

    def _set_status(self, status: str, reason: str | None = None) -> None:
        with self._lock:
            if self._ended.is_set() or self.record.endpoint_status == "Deleting":
                return
            self.record.endpoint_status = status
            self.record.failure_reason = reason
            self.record.last_modified_time = datetime.now(UTC).replace(tzinfo=None)  # as moto keeps it

    def _spawn(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True, name=type(self).__name__).start()
