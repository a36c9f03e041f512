"""Snapshots: the synthesised stacks and the price table of a revision, cached by the hash of its tree."""

import hashlib
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stack_gate import GateError, template
from stack_gate.collect import assembly, jsii_cache, sandbox, sandbox_init, synthesis
from stack_gate.collect.git import Repository, Tree
from stack_gate.collect.jsii_cache import fill_home
from stack_gate.collect.packages import collect_packages, uses_cdk
from stack_gate.collect.synthesis import synthesise
from stack_gate.template import Stack, is_object

CDK_JSON = "cdk.json"
PRICE_TABLES = ("infra/config/prices.json", "infra/prices.json")  # the second in revisions before it moved
MAX_CACHED = 20
MAX_PARALLEL_SYNTHS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A revision's stacks by environment, and its USD per hour by instance type."""

    environments: dict[str, list[Stack]]
    prices: dict[str, float]


def take_snapshot(tree: Tree, repository: Repository, cache_folder: Path) -> Snapshot:
    """Return a tree's snapshot, from the cache or by synthesising its environments in parallel.

    Raise GateError if a synth fails. Take the base's first: without isolation, the head's code could change it.
    """
    file = cache_folder / "snapshots" / f"{tree.digest}-{_code_digest()}.json"
    if file.exists():
        return _load(file)
    with (
        tempfile.TemporaryDirectory(prefix="stack-gate-") as scratch,
        ThreadPoolExecutor(MAX_PARALLEL_SYNTHS) as executor,
    ):
        source, home = Path(scratch) / "source", Path(scratch) / "home"
        home.mkdir()
        repository.extract(tree, source)
        names, prices = environment_names(source), read_prices(source)
        packages = collect_packages(source, cache_folder)
        if uses_cdk(source):
            fill_home(home, cache_folder)
        synths = {name: executor.submit(synthesise, source, name, packages, home) for name in names}
        snapshot = Snapshot(environments={name: synth.result() for name, synth in synths.items()}, prices=prices)
    _store(snapshot, file)
    return snapshot


def environment_names(source: Path) -> list[str]:
    """Return the names of the environments in cdk.json."""
    found = _read_json(source / CDK_JSON).get("context", {}).get("environments")
    if not is_object(found) or not found:
        raise GateError(f"{CDK_JSON} must name at least one environment under context.environments, got {found!r}")
    return list(found)


def read_prices(source: Path) -> dict[str, float]:
    """Return USD per hour by instance type, {} if the revision has no price table."""
    for name in PRICE_TABLES:
        if (source / name).is_file():
            table = _read_json(source / name)["usd_per_hour"]
            return {instance_type: float(price) for instance_type, price in table.items()}
    return {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GateError(f"{path.name} could not be read as JSON: {error}") from error


def _load(path: Path) -> Snapshot:
    raw = json.loads(path.read_text(encoding="utf-8"))
    stacks = {name: [Stack(**stack) for stack in listed] for name, listed in raw["environments"].items()}
    return Snapshot(environments=stacks, prices=raw["prices"])


def _store(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot atomically, and delete the oldest ones: every state of the working tree adds one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(asdict(snapshot), file)
    Path(file.name).replace(path)
    cached = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in cached[MAX_CACHED:]:
        old.unlink(missing_ok=True)


@cache
def _code_digest() -> str:
    """Hash of the code that takes snapshots, so that a change of it invalidates the cache."""
    sources = (module.__file__ for module in (assembly, jsii_cache, sandbox, sandbox_init, synthesis, template))
    code = b"".join(Path(source).read_bytes() for source in (__file__, *filter(None, sources)))
    return hashlib.sha256(code).hexdigest()[:8]
