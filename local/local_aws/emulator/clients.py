"""boto3 clients with which the embedded services call one another, over the same TLS endpoint as everybody else."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local_aws.emulator.account import REGION, ROOT_ACCESS_KEY_ID, ROOT_SECRET_ACCESS_KEY

# Failures here are answers, not hiccups: retrying would only hide them for a while.
_CONFIG = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=120, max_pool_connections=32)


@dataclass(frozen=True)
class Runtime:
    """Where this server listens and keeps its files; `trust` is the machine's certificates plus `authority`."""

    endpoint_url: str
    state: Path
    authority: Path
    trust: Path


_runtime: list[Runtime] = []
_clients: dict[tuple[str, str], Any] = {}
_lock = threading.Lock()
_session: Any = boto3.session.Session()  # one for all: each would read the services' models anew
_session_lock = threading.Lock()


def set_runtime(runtime: Runtime) -> None:
    """Say, once and before the extensions are installed, where this server listens."""
    _runtime[:] = [runtime]
    _clients.clear()


def runtime() -> Runtime:
    """Where this server listens; an error before `set_runtime`."""
    if not _runtime:
        raise RuntimeError(
            "the embedded AWS must be started by local_aws.emulator.server before its services call one another"
        )
    return _runtime[0]


def client(service: str, region: str = REGION) -> Any:
    """The administrator's boto3 client of `service`; made once, safe to share between threads."""
    with _lock:
        if (service, region) not in _clients:
            _clients[service, region] = client_with(
                service,
                {"aws_access_key_id": ROOT_ACCESS_KEY_ID, "aws_secret_access_key": ROOT_SECRET_ACCESS_KEY},
                region,
            )
        return _clients[service, region]


def client_with(service: str, credentials: dict[str, str], region: str = REGION) -> Any:
    """A boto3 client of `service` with `credentials` (boto3's own argument names), subject to the deployed policies."""
    with _session_lock:  # a session's clients may be used by many threads, but not made by many
        return _session.client(
            service,
            region_name=region,
            endpoint_url=runtime().endpoint_url,
            verify=str(runtime().authority),
            config=_CONFIG,
            **credentials,
        )
