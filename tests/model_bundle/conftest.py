"""Fixtures of the bundle's tests: an in-memory log, a fake S3, an HTTP client, and the tiny model, loaded once."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import settings

from musicgen_serving.audio_upload import GrowingBody
from soak.container_client import ContainerClient
from tests.model_bundle.helpers.memory_log import MemoryLog

settings.register_profile("bundle", deadline=None)  # CI machines have two shared cores; a slow example is no failure
settings.load_profile("bundle")


@dataclass
class RecordingS3:
    """An S3 client that records objects; `failure`, if set, is raised instead."""

    objects: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict[tuple[str, str], tuple[bytes, str]])
    failure: Exception | None = None

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> dict[str, str]:  # noqa: N803
        if self.failure:
            raise self.failure
        self.objects[Bucket, Key] = (Body, ContentType)
        return {"ETag": ""}

    def upload_fileobj(
        self, Fileobj: GrowingBody, Bucket: str, Key: str, ExtraArgs: dict[str, str], **_: Any  # noqa: N803
    ) -> None:  # fmt: skip
        self.put_object(Bucket=Bucket, Key=Key, Body=Fileobj.read(), ContentType=ExtraArgs["ContentType"])

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        """Answer 403 for an object that does not exist, as S3 does without permission to list the bucket."""
        if self.failure:
            raise self.failure
        if (Bucket, Key) not in self.objects:
            answer: Any = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(answer, "GetObject")
        body = self.objects[Bucket, Key][0]
        return {"ContentLength": len(body), "Body": io.BytesIO(body)}

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, str]:  # noqa: N803
        """Answer 403 for an object that does not exist, as S3 does without permission to list the bucket."""
        if (Bucket, Key) not in self.objects:
            answer: Any = {"Error": {"Code": "403"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(answer, "HeadObject")
        return {"ETag": ""}


@pytest.fixture
def memory_log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def s3() -> RecordingS3:
    return RecordingS3()


@pytest.fixture(scope="session")
def http_client() -> Callable[[int], ContainerClient]:
    return ContainerClient


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Limit torch to one thread; more slow a tiny model down on a busy machine."""
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
