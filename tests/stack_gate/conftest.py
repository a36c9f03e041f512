"""The real stack as base, and a judge for many changes of it in one run of the differ."""

from collections.abc import Callable, Sequence

import pytest

from stack_gate.comparison import Comparison, Pair, compare
from stack_gate.template import Stack
from tests.stack_gate.mutants.stacks import PRICES, synthesise


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The dev environment's stack; read only."""
    return synthesise(tmp_path_factory.mktemp("assembly"))


@pytest.fixture(scope="session")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The prod environment's stack, whose buckets are kept; read only."""
    return synthesise(tmp_path_factory.mktemp("assembly"), env="prod")


@pytest.fixture(scope="session")
def judged() -> Callable[[Sequence[tuple[Stack, Stack]]], list[Comparison]]:
    """What the gate says of (base, head) stacks."""

    def judge(pairs: Sequence[tuple[Stack, Stack]]) -> list[Comparison]:
        return compare([Pair(base=base, head=head) for base, head in pairs], [PRICES])

    return judge
