"""Where the conformance suite runs: the embedded AWS, plain moto, or a real account."""

import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import moto
from botocore.config import Config

from conformance.behaviour import TARGET_VARIABLE
from local_aws.emulator import account
from local_aws.emulator.process import LocalAws

TARGETS = ("embedded", "moto", "account")
# moto runs nothing, so what has not happened after seconds never will; an account starts instances in minutes.
_PATIENCE = {"embedded": 1.0, "moto": 0.1, "account": 20.0}


@dataclass(frozen=True)
class Target:
    """One AWS to test: where it is, and how long to wait for it.

    `patience` multiplies the tests' waiting times, which are written for the embedded AWS. `clock_factor` is how much
    faster than real time alarms and scaling run.
    """

    name: str
    region: str
    account_id: str
    patience: float
    clock_factor: float
    session: Any  # boto3's, untyped: the services' names are variables here
    arguments: dict[str, Any]

    def client(self, service: str, **arguments: Any) -> Any:
        """Return a boto3 client; it never retries, because a refusal is what many tests want to see."""
        config = Config(retries={"total_max_attempts": 1}, read_timeout=120)
        return self.session.client(service, **{"config": config, **self.arguments, **arguments})


def chosen() -> str:
    """Return the target's name from the environment; ValueError names the possible ones."""
    name = os.environ.get(TARGET_VARIABLE, "embedded")
    if name not in TARGETS:
        raise ValueError(f"{TARGET_VARIABLE} must be one of {', '.join(TARGETS)}, got {name}")
    return name


def label() -> str:
    """Return what a run was made against, for its results: a version, or a date and a region."""
    if chosen() == "account":
        region = boto3.session.Session().region_name
        return f"{datetime.now(UTC):%Y-%m-%d}, {region}"
    return f"moto {moto.__version__}" if chosen() == "moto" else "the embedded AWS"


@contextmanager
def start(*, clock_factor: float = 1.0) -> Generator[Target]:
    """Start the chosen target and stop it at the end; a real account is only connected to.

    `clock_factor` applies to the embedded AWS alone.
    """
    if chosen() == "account":
        yield _account()
    elif chosen() == "moto":
        yield from _moto()
    else:
        with (
            tempfile.TemporaryDirectory(prefix="aws-") as folder,
            LocalAws(Path(folder), clock_factor=clock_factor) as aws,
        ):
            arguments = {
                "endpoint_url": aws.endpoint_url,
                "verify": str(aws.ca_bundle),
                "aws_access_key_id": account.ROOT_ACCESS_KEY_ID,
                "aws_secret_access_key": account.ROOT_SECRET_ACCESS_KEY,
            }
            yield _target("embedded", aws.account_id, aws.region, arguments, clock_factor)


def _account() -> Target:
    session: Any = boto3.session.Session()
    if not session.region_name:
        raise ValueError("a real account needs a region: set AWS_REGION and AWS_DEFAULT_REGION, or a profile with one")
    account_id = session.client("sts").get_caller_identity()["Account"]
    return _target("account", account_id, session.region_name, {}, 1.0)


def _moto() -> Iterator[Target]:
    """Serve moto as it is, without any of the embedded AWS's patches."""
    from moto.server import ThreadedMotoServer  # here: hundreds of modules

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        arguments = {"endpoint_url": f"http://{host}:{port}", **keys}
        yield _target("moto", account.ACCOUNT_ID, account.REGION, arguments, 1.0)
    finally:
        server.stop()


def _target(name: str, account_id: str, region: str, arguments: dict[str, Any], clock_factor: float) -> Target:
    session: Any = boto3.session.Session(region_name=region)
    return Target(name, region, account_id, _PATIENCE[name], clock_factor, session, arguments)
