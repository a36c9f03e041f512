"""A healthy account, and a loopback Hub."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.sagemaker.models import FakeEndpointConfig

from local_aws.hub import LoopbackHub, Repository
from tests.preflight.account import COMMIT, REGION, Account

MODEL = "facebook/musicgen-large"


@pytest.fixture(scope="module")
def session() -> Any:
    """One session, because each session reads the service models again."""
    return boto3.Session("test", "test", region_name=REGION)


@pytest.fixture
def account(session: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account of moto in which `make deploy` would succeed."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # thousands of machine images, for each test
    for name in ("AWS_REGION", "AMAZON_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    # moto's list of instance types ends before g5
    monkeypatch.setattr(FakeEndpointConfig, "validate_instance_type", accept)
    with mock_aws(), Account(session) as made:
        made.prepare()
        yield made


def accept(*_: object) -> None:
    """Accept any value."""


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """The names, not the content, of a published model."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def hub(model_folder: Path) -> Iterator[str]:
    """The address of a Hub that has the configured model and commit."""
    with LoopbackHub(Repository.from_folder(model_folder, model_id=MODEL, revision=COMMIT)) as running:
        yield running.url
