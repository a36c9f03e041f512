"""The conformance suite's targets: CONFORMANCE_TARGET is embedded (the default), moto or account."""

from collections.abc import Iterator

import pytest

from conformance import targets
from conformance.targets import Target
from conformance.workspace import Workspace
from tests.conformance.endpoints import GENEROUS, AsyncEndpoint


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """The AWS under test."""
    with targets.start() as running:
        yield running


@pytest.fixture(scope="session")
def fast_target() -> Iterator[Target]:
    """The AWS under test; in the embedded AWS, alarms and scaling run 60 times faster: a minute takes a second."""
    with targets.start(clock_factor=60) as running:
        yield running


@pytest.fixture(scope="module")
def workspace(target: Target) -> Iterator[Workspace]:
    """What the tests of one file create; everything is removed after the last of them."""
    made = Workspace(target)
    yield made
    made.close()


@pytest.fixture(scope="module")
def fast_workspace(fast_target: Target) -> Iterator[Workspace]:
    """`workspace` on `fast_target`."""
    made = Workspace(fast_target)
    yield made
    made.close()


@pytest.fixture(scope="session")
def endpoint(target: Target) -> Iterator[AsyncEndpoint]:
    """An endpoint in service that the tests of all files share: send requests, change nothing else."""
    workspace = Workspace(target)
    made = AsyncEndpoint(workspace, environment=GENEROUS)
    made.create()
    yield made
    workspace.close()
