"""Fixtures: the engine with the toy model, and with it as the faults that a test plants leave it."""

from collections.abc import Iterator

import pytest
import torch

from tests.local_aws.hub.player import Player, toy_player


@pytest.fixture(scope="session")
def player() -> Iterator[Player]:
    """The engine as it is; loaded once. One torch thread: more slow so small a model down on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with toy_player() as loaded:
        yield loaded
    torch.set_num_threads(before)
