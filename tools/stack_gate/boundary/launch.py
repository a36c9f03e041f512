"""Let the base judge: run the gate's code as the base has it, whatever the checkout contains.

On GitHub the gate starts from a checkout of the base. In a working tree, `make gate` starts the working tree's code,
which hands over to the base's here, so that a developer sees what the pull request will. With `--standalone`, a gate
from elsewhere judges a repository that contains none.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from stack_gate import GateError
from stack_gate.collect.git import Repository, Tree

PACKAGE = "tools/stack_gate/"
# What the gate reads and runs besides: the tables of images and prices, and the planner.
COMPANIONS = (
    "infra/__init__.py",
    "infra/config/",
    "local/local_aws/__init__.py",
    "local/local_aws/autoscaling/",
    "local/local_aws/planner/",
)
# Programs beside the gate that a copy of it needs as well: the template differ's packages, and checkov.
INSTALLED = ("node_modules", ".venv-checkov")


def own_root() -> Path:
    """Return the folder that holds the running gate and its companions: a checkout of the base or a copy."""
    return Path(__file__).resolve().parents[3]


def own_files() -> dict[str, bytes]:
    """Return the running gate's files and companions by their path in the repository."""
    found: dict[str, bytes] = {}
    for name in (PACKAGE, *COMPANIONS):
        place = own_root() / name
        for path in place.rglob("*") if place.is_dir() else [place]:
            if path.is_file() and "__pycache__" not in path.parts:
                found[path.relative_to(own_root()).as_posix()] = path.read_bytes()
    return found


def own_digest() -> str:
    """Return a hash of the gate's files as they were before any code of a revision ran."""
    return _digest_at_start()


def _digest() -> str:
    listed = sorted(own_files().items())
    return hashlib.sha256(
        b"".join(name.encode() + b"\0" + hashlib.sha256(data).digest() for name, data in listed)
    ).hexdigest()


@cache
def _digest_at_start() -> str:
    return _digest()


def remember_own_files() -> None:
    """Note what the gate consists of, before any code of a revision runs."""
    _digest_at_start()


def check_own_files() -> None:
    """Raise GateError if the gate's files have changed since they were noted."""
    if _digest() != _digest_at_start():
        raise GateError("the gate's own files changed while a revision was synthesised")


def check_standalone(repository: Repository) -> None:
    """Raise GateError if the running gate lies in the repository that it judges, whose base's gate judges instead."""
    if own_root().is_relative_to(repository.root.resolve()):
        raise GateError(f"--standalone is for a gate outside the repository that it judges, got one in {own_root()}")


def run_by_base(repository: Repository, base: Tree, arguments: Sequence[str]) -> int | None:
    """Run the base's gate and return its exit status, or None if this is the base's gate.

    Raise GateError if the base has no gate.
    """
    entries = {path: entry for path, entry in repository.files(base).items() if path.startswith((PACKAGE, *COMPANIONS))}
    if f"{PACKAGE}__main__.py" not in entries:
        raise GateError(f"the base {base.description} has no gate ({PACKAGE}): merge the gate first, by itself")
    contents = repository.blobs(base, (entry.blob for entry in entries.values()))
    files = {path: contents[entry.blob] for path, entry in entries.items()}
    if files == own_files():
        return None
    print(f"stack gate: the gate of {base.description} judges, not this checkout's", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="stack-gate-") as folder:
        for path, data in files.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(data)
        for name in INSTALLED:  # where Node and the gate look for them: in the folders above the gate's
            (Path(folder) / name).symlink_to(own_root() / name)
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        variables |= {"PYTHONPATH": str(Path(folder) / "tools"), "PYTHONDONTWRITEBYTECODE": "1"}
        # -P and -s: no module of the current folder or of the user's site stands before the gate's.
        done = subprocess.run([sys.executable, "-P", "-s", "-m", "stack_gate", *arguments], env=variables)
    return done.returncode
