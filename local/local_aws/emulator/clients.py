"""boto3 clients for calls between the embedded services, over the same TLS endpoint as any other client's."""

import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.session import get_session

from local_aws.emulator import child_processes
from local_aws.emulator.account import REGION, ROOT_ACCESS_KEY_ID, ROOT_SECRET_ACCESS_KEY

# Errors here are not transient: a retry would only delay them.
_CONFIG = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=120, max_pool_connections=32)


@dataclass(frozen=True)
class Runtime:
    """The server's endpoint and files; `trust` contains the machine's certificates and `authority`.

    `instance_environment` is what every instance's container finds in its environment, unless its model says otherwise.
    """

    endpoint_url: str
    state: Path
    authority: Path
    trust: Path
    instance_environment: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def children(self) -> Path:
        """The `registry` that `child_processes` needs."""
        return self.state / child_processes.REGISTRY


_runtime: list[Runtime] = []
service_models: Any = get_session().get_component("data_loader")


def new_session() -> Any:
    """Return a botocore session that shares the service models which are loaded; a plain one loads them again."""
    session: Any = get_session()
    session.register_component("data_loader", service_models)
    return session


_session: Any = boto3.session.Session(botocore_session=new_session())
_session_lock = threading.Lock()


def set_runtime(runtime: Runtime) -> None:
    """Set where this server listens; call once, before moto is patched."""
    _runtime[:] = [runtime]
    client.cache_clear()
    _client_of.cache_clear()


def runtime() -> Runtime:
    """Return where this server listens; raise RuntimeError before `set_runtime`."""
    if not _runtime:
        raise RuntimeError("the embedded AWS is not running in this process; start it with local_aws.emulator.server")
    return _runtime[0]


@functools.cache
def client(service: str, region: str = REGION) -> Any:
    """Return the administrator's boto3 client of `service`, cached and safe to share between threads."""
    administrator = {"aws_access_key_id": ROOT_ACCESS_KEY_ID, "aws_secret_access_key": ROOT_SECRET_ACCESS_KEY}
    return client_with(service, administrator, region)


@functools.lru_cache(maxsize=256)
def _client_of(service: str, region: str, credentials: tuple[tuple[str, str], ...]) -> Any:
    return client_with(service, dict(credentials), region)


def client_of(service: str, credentials: dict[str, str], region: str = REGION) -> Any:
    """Return a client as `client_with` does, cached and safe to share between threads."""
    return _client_of(service, region, tuple(credentials.items()))


def client_with(service: str, credentials: dict[str, str], region: str = REGION) -> Any:
    """Create a boto3 client with `credentials` (boto3's argument names), subject to the deployed policies."""
    with _session_lock:  # clients are thread-safe, creating them from one session is not
        return _session.client(
            service,
            region_name=region,
            endpoint_url=runtime().endpoint_url,
            verify=str(runtime().authority),
            config=_CONFIG,
            **credentials,
        )
