"""Fixtures of the bundle's tests: a log in memory, a client of the server, the tiny model loaded once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from soak.bundle_client import BundleClient
from tests.model_bundle.helpers.memory_log import MemoryLog

settings.register_profile("bundle", deadline=None)  # two cores shared by everything: a slow example says nothing
settings.load_profile("bundle")


@dataclass
class RecordingS3:
    """An S3 client that keeps what is put; `failure`, if set, is raised instead."""

    objects: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict[tuple[str, str], tuple[bytes, str]])
    failure: Exception | None = None

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> dict[str, str]:  # noqa: N803
        """Keep one object."""
        if self.failure:
            raise self.failure
        self.objects[Bucket, Key] = (Body, ContentType)
        return {"ETag": ""}


@pytest.fixture
def memory_log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def s3() -> RecordingS3:
    return RecordingS3()


@pytest.fixture(scope="session")
def http_client() -> Callable[[int], BundleClient]:
    return BundleClient


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """One torch thread, as a tiny model on a busy machine is slower with more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def generator(staged_musicgen: Path, one_thread: None) -> Iterator[Any]:
    """The tiny model, loaded once."""
    from musicgen_serving.engine.generator import Capacity, Generator
    from musicgen_serving.engine.loading import WeightFormat

    loaded = Generator(staged_musicgen, weight_format=WeightFormat(), capacity=Capacity(), log=MemoryLog().log)
    yield loaded
    loaded.close()
