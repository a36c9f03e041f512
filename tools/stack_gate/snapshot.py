"""A revision as the gate compares it: the stacks of every environment, and the prices. Cached by the tree's hash."""

import hashlib
import json
import tempfile
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stack_gate.environments import python_for
from stack_gate.errors import GateError
from stack_gate.git import Repository, Tree
from stack_gate.synthesis import synthesise
from stack_gate.template import Stack, is_object
from stack_gate.wheels import wheels_for

PRICES = Path("infra/prices.json")
SETTINGS = Path("cdk.json")
MOST_KEPT = 20


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The stacks of a revision by environment, and USD an hour by instance type."""

    environments: dict[str, list[Stack]]
    prices: dict[str, float]


class Snapshots:
    """Makes snapshots, several synths at once, and keeps what it made in `cache`."""

    def __init__(self, repository: Repository, cache: Path, executor: Executor) -> None:
        self._repository = repository
        self._cache = cache
        self._executor = executor

    def begin(self, tree: Tree, source: Path) -> "Pending":
        """Start the synths of a tree, in the folder `source`; `Pending.result` waits for them."""
        kept = self._cache / "snapshots" / f"{tree.digest}-{_own_digest()}.json"
        if kept.exists():
            return Pending(kept, None, {}, {})
        self._repository.extract(tree, source)
        python = python_for(source, self._cache)
        variables = wheels_for(source, python, self._cache)
        synths = {
            name: self._executor.submit(synthesise, source, name, python, variables) for name in environments(source)
        }
        return Pending(kept, source, synths, prices(source))


class Pending:
    """A snapshot whose synths may still run."""

    def __init__(
        self, kept: Path, source: Path | None, synths: dict[str, Future[list[Stack]]], prices: dict[str, float]
    ) -> None:
        self.cached = source is None
        self._kept = kept
        self._synths = synths
        self._prices = prices

    def result(self) -> Snapshot:
        """The snapshot. GateError where a synth failed."""
        if self.cached:
            return _load(self._kept)
        stacks = {name: synth.result() for name, synth in self._synths.items()}
        snapshot = Snapshot(environments=stacks, prices=self._prices)
        _store(snapshot, self._kept)
        return snapshot


def environments(source: Path) -> list[str]:
    """The names of the environments in cdk.json."""
    found = _json(source / SETTINGS).get("context", {}).get("environments")
    if not is_object(found) or not found:
        raise GateError(f"{SETTINGS} must name at least one environment under context.environments, got {found!r}")
    return list(found)


def prices(source: Path) -> dict[str, float]:
    """USD an hour by instance type; empty for a revision that has no price table."""
    if not (source / PRICES).is_file():
        return {}
    return {name: float(value) for name, value in _json(source / PRICES)["usd_per_hour"].items()}


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GateError(f"{path.name} must be readable JSON: {error}") from error


def _load(path: Path) -> Snapshot:
    raw = json.loads(path.read_text(encoding="utf-8"))
    stacks = {name: [Stack(**stack) for stack in listed] for name, listed in raw["environments"].items()}
    return Snapshot(environments=stacks, prices=raw["prices"])


def _store(snapshot: Snapshot, path: Path) -> None:
    """Written beside and renamed, so that an interrupted run leaves nothing half-made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(asdict(snapshot), file)
    Path(file.name).replace(path)
    _forget_oldest(path.parent)


def _forget_oldest(folder: Path) -> None:
    """Every state of a working tree leaves a snapshot: the last few are enough."""
    kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[MOST_KEPT:]:
        path.unlink(missing_ok=True)


@cache
def _own_digest() -> str:
    """A snapshot made by other code than this is not used again."""
    folder = Path(__file__).parent
    sources = (folder / name for name in ("assembly.py", "synthesis.py", "snapshot.py", "template.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
