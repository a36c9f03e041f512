"""The real stacks to change, and a comparison of many changes in one run of the differ."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from stack_gate.diff.stacks import Pair
from stack_gate.gate import compare
from stack_gate.report.report import Comparison
from stack_gate.template import Stack
from tests.stack_gate.mutants.stacks import PRICES, ROOT, Compare, synthesise


@pytest.fixture(scope="session")
def cache_with_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the gate's that is empty but for CDK's unpacked packages, which all test runs share."""
    unpacked = ROOT / ".local/gate/jsii"
    unpacked.mkdir(parents=True, exist_ok=True)
    cache = tmp_path_factory.mktemp("cache")
    (cache / "jsii").symlink_to(unpacked)
    return cache


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The dev environment's stack; read only."""
    return synthesise(tmp_path_factory.mktemp("assembly"))


@pytest.fixture(scope="session")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The prod environment's stack, which retains its buckets; read only."""
    return synthesise(tmp_path_factory.mktemp("assembly"), env="prod")


@pytest.fixture(scope="session")
def compare_stacks() -> Compare:
    """Compares (base, head) stacks."""

    def run(pairs: Sequence[tuple[Stack, Stack]]) -> list[Comparison]:
        return compare([Pair(base=base, head=head) for base, head in pairs], [PRICES])

    return run
