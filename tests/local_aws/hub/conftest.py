"""Fixtures: the engine with the toy model, and with the toy melody model."""

from collections.abc import Iterator

import pytest
import torch

from tests.local_aws.hub.player import Player, toy_player
from tests.local_aws.hub.whistler import Whistler, toy_whistler


@pytest.fixture(scope="session")
def single_thread() -> Iterator[None]:
    """One torch thread: more slow so small a model down on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def player(single_thread: None) -> Iterator[Player]:
    """The engine as it is; loaded once."""
    with toy_player() as loaded:
        yield loaded


@pytest.fixture(scope="session")
def whistler(single_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whistler]:
    """The engine with the toy melody model; loaded once."""
    with toy_whistler(tmp_path_factory.mktemp("melody")) as loaded:
        yield loaded
