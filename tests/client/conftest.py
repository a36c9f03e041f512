"""A client of an AWS in virtual time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from musicgen_client.api import MusicGen
from musicgen_client.history import History
from musicgen_client.jobs import Limits
from tests.client.helpers.fake_aws import FakeAws


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


@pytest.fixture
def connect(aws: FakeAws, tmp_path: Path) -> Callable[..., MusicGen]:
    """Return a new client, as a new process would have it."""

    def make(queue_url: str | None = None, limits: Limits | None = None) -> MusicGen:
        return MusicGen(
            "MusicGen-test",
            clients=aws.clients,
            history=History("MusicGen-test", tmp_path / "state"),
            clock=aws.clock,
            sleep=aws.sleep,
            queue_url=queue_url,
            limits=limits,
        )

    return make


@pytest.fixture
def music(connect: Callable[..., MusicGen]) -> MusicGen:
    return connect()
