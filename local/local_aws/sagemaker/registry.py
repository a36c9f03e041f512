"""All endpoints of one embedded AWS, and what they share."""

import threading
from typing import NamedTuple

from local_aws.emulator.clients import Runtime
from local_aws.sagemaker.credentials_server import CredentialsServer
from local_aws.sagemaker.definition import VariantDefinition
from local_aws.sagemaker.endpoint import Endpoint, EndpointRecord
from local_aws.sagemaker.instance import Launch


class EndpointKey(NamedTuple):
    """An endpoint's place in the world."""

    account: str
    region: str
    name: str


class DataPlane:
    """Holds the running endpoints. `launch` starts one container from its environment and its log's path."""

    def __init__(self, runtime: Runtime, launch: Launch) -> None:
        self.runtime = runtime
        self.launch = launch
        self.credentials = CredentialsServer()
        self._endpoints: dict[EndpointKey, Endpoint] = {}
        self._lock = threading.Lock()

    def create(self, key: EndpointKey, record: EndpointRecord, definition: VariantDefinition) -> None:
        """Starts an endpoint behind moto's `record`, whose status it keeps from here on."""
        with self._lock:
            self._endpoints[key] = Endpoint(record, definition, self)

    def find(self, key: EndpointKey) -> Endpoint | None:
        """The endpoint of that name, whatever its status."""
        with self._lock:
            return self._endpoints.get(key)

    def forget(self, key: EndpointKey) -> None:
        """Drops an endpoint that has ended."""
        with self._lock:
            self._endpoints.pop(key, None)

    def shutdown(self) -> None:
        """Ends every endpoint with all its processes; returns when nothing runs."""
        with self._lock:
            endpoints = list(self._endpoints.values())
            self._endpoints.clear()
        for endpoint in endpoints:
            endpoint.abandon()
        self.credentials.close()
