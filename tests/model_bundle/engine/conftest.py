"""Fixtures of the engine's tests: the reference models that it is compared with."""

from typing import Any

import pytest

from tests.model_bundle.helpers.reference_musicgen import Reference, make_reference


@pytest.fixture(scope="session")
def mono(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Reference:
    return make_reference(tmp_path_factory.mktemp("mono"), channels=1)


@pytest.fixture(scope="session")
def stereo(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Reference:
    return make_reference(tmp_path_factory.mktemp("stereo"), channels=2)


@pytest.fixture(params=["mono", "stereo"])
def reference(request: pytest.FixtureRequest) -> Any:
    """Run the test with both models."""
    return request.getfixturevalue(request.param)
