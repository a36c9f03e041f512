"""Revisions of the repository as trees, and trees as folders. The working tree counts as a revision of its own."""

import os
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from stack_gate.errors import GateError

WORKING_TREE = "working tree"


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What a revision holds: its name, the commit (empty for the working tree), and git's hash of the content."""

    name: str
    commit: str
    digest: str
    environment: dict[str, str] = field(default_factory=dict[str, str], repr=False)


class Repository:
    """A git checkout. Used as a context manager: what the working tree's snapshot needed is removed at the end."""

    def __init__(self, folder: Path) -> None:
        self._scratch = ExitStack()
        self.root = Path(_git(folder, "rev-parse", "--show-toplevel").decode().strip())

    def __enter__(self) -> "Repository":
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def tree(self, revision: str) -> Tree:
        """The tree of a commit, branch or tag, or of the working tree. GateError for a revision that does not exist."""
        if revision == WORKING_TREE:
            return self._working_tree()
        try:
            commit = _git(self.root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        except GateError as error:
            raise GateError(
                f"a revision must be a commit, branch or tag of this repository, got {revision!r}"
            ) from error
        name = commit.decode().strip()
        digest = _git(self.root, "rev-parse", f"{name}^{{tree}}").decode().strip()
        return Tree(name=revision, commit=name, digest=digest)

    def extract(self, tree: Tree, folder: Path) -> None:
        """Write the tree's files into a folder."""
        archive = _git(self.root, "archive", "--format=tar", tree.digest, environment=tree.environment)
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")

    def changed_files(self, base: Tree, head: Tree) -> list[str]:
        """Paths that differ between two trees."""
        command = ("diff-tree", "-r", "--name-only", "-z", base.digest, head.digest)
        listed = _git(self.root, *command, environment={**base.environment, **head.environment})
        return [name for name in listed.decode().split("\0") if name]

    def _working_tree(self) -> Tree:
        """A tree of all that git would add, written beside the repository's own objects, which stay as they are."""
        scratch = Path(self._scratch.enter_context(tempfile.TemporaryDirectory(prefix="stack-gate-")))
        objects = Path(_git(self.root, "rev-parse", "--path-format=absolute", "--git-path", "objects").decode().strip())
        index = Path(_git(self.root, "rev-parse", "--path-format=absolute", "--git-path", "index").decode().strip())
        environment = {
            "GIT_INDEX_FILE": str(scratch / "index"),
            "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        (scratch / "objects").mkdir()
        if index.exists():
            shutil.copyfile(index, scratch / "index")
        _git(self.root, "add", "--all", environment=environment)
        digest = _git(self.root, "write-tree", environment=environment).decode().strip()
        return Tree(name=WORKING_TREE, commit="", digest=digest, environment=environment)


def _git(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, env={**os.environ, **(environment or {})}
        )
    except FileNotFoundError as error:
        raise GateError("git is needed and was not found") from error
    if done.returncode != 0:
        raise GateError(f"git {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
