"""One run of the gate: snapshots of both revisions, and what lies between them."""

import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stack_gate.comparison import Comparison, Pair, compare, pair_up
from stack_gate.errors import GateError
from stack_gate.git import Repository, Tree
from stack_gate.money import Prices
from stack_gate.report import Report
from stack_gate.snapshot import Snapshot, Snapshots
from stack_gate.template import Stack

OWN_FILES = ("tools/stack_gate/", ".github/")
SYNTHS_AT_ONCE = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to compare. `deployed` replaces the base with a template that an account gave, for one environment."""

    base: str
    head: str
    allowed: frozenset[str]
    deployed: Path | None = None
    environment: str | None = None


def run(question: Question, repository: Repository, cache: Path) -> Report:
    """Answer a question. GateError where it cannot be answered."""
    started = time.monotonic()
    trees = [repository.tree(question.base), repository.tree(question.head)]
    base, head = _snapshots(trees, repository, cache)
    if question.deployed is not None:
        base = _deployed(question, head)
    compared = _compare(base, head, question.environment)
    changed = repository.changed_files(*trees)
    return Report(
        base=question.deployed.name if question.deployed else _words(trees[0]),
        head=_words(trees[1]),
        allowed=question.allowed,
        environments=compared,
        own_changes=tuple(name for name in changed if name.startswith(OWN_FILES)),
        seconds=time.monotonic() - started,
    )


def _snapshots(trees: list[Tree], repository: Repository, cache: Path) -> tuple[Snapshot, Snapshot]:
    with ThreadPoolExecutor(SYNTHS_AT_ONCE) as executor, tempfile.TemporaryDirectory(prefix="stack-gate-") as scratch:
        snapshots = Snapshots(repository, cache, executor)
        distinct = {tree.digest: tree for tree in trees}
        pending = {digest: snapshots.begin(tree, Path(scratch) / digest) for digest, tree in distinct.items()}
        made = {digest: waiting.result() for digest, waiting in pending.items()}
    return made[trees[0].digest], made[trees[1].digest]


def _compare(base: Snapshot, head: Snapshot, only: str | None) -> dict[str, list[Comparison]]:
    """All environments of both revisions, in one run of the differ."""
    names = [name for name in dict.fromkeys([*head.environments, *base.environments]) if only in (None, name)]
    if not names:
        raise GateError(f"environment must be one of {', '.join(head.environments)}, got {only}")
    pairs = {name: _pairs(base.environments.get(name), head.environments.get(name)) for name in names}
    tables: list[Prices] = [table for table in (head.prices, base.prices) if table]
    compared = iter(compare([pair for listed in pairs.values() for pair in listed], tables))
    return {name: [next(compared) for _ in listed] for name, listed in pairs.items()}


def _pairs(base: list[Stack] | None, head: list[Stack] | None) -> list[Pair]:
    return pair_up(base or [], head or [])


def _deployed(question: Question, head: Snapshot) -> Snapshot:
    """The head's snapshot with the account's template in place of the one stack of the environment."""
    name = question.environment
    if question.deployed is None or name is None or len(head.environments.get(name, [])) != 1:
        raise GateError(f"a deployed template needs --env, an environment with one stack, got {name}")
    try:
        template = json.loads(question.deployed.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GateError(f"the deployed template must be a JSON file: {error}") from error
    stack = head.environments[name][0]
    known = Stack(
        name=stack.name,
        template=template.get("TemplateBody", template),
        region=stack.region,
        account=stack.account,
        assets=stack.assets,
    )
    return Snapshot(environments={name: [known]}, prices=head.prices)


def _words(tree: Tree) -> str:
    return f"{tree.name} ({tree.commit[:9]})" if tree.commit and not tree.commit.startswith(tree.name) else tree.name
