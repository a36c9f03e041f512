"""Revisions of the repository as git trees; the working tree is a revision too."""

import os
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from stack_gate import GateError

WORKING_TREE = "working tree"


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The content of a revision. `commit` is empty for the working tree; `digest` is git's hash of the tree."""

    name: str
    commit: str
    digest: str
    environment: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def description(self) -> str:
        """The name, with the short commit if the name is a branch or tag."""
        named = self.commit and not self.commit.startswith(self.name)
        return f"{self.name} ({self.commit[:9]})" if named else self.name


class Repository:
    """A git checkout. Use it as a context manager, which removes the working tree's temporary objects."""

    def __init__(self, folder: Path) -> None:
        self._scratch = ExitStack()
        self.root = Path(_git_text(folder, "rev-parse", "--show-toplevel"))

    def __enter__(self) -> "Repository":
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def tree(self, revision: str) -> Tree:
        """Return the tree of a commit, branch, tag or WORKING_TREE. Raise GateError if it does not exist."""
        if revision == WORKING_TREE:
            return self._working_tree()
        try:
            commit = _git_text(self.root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        except GateError as error:
            raise GateError(
                f"a revision must be a commit, branch or tag of this repository, got {revision!r}"
            ) from error
        return Tree(name=revision, commit=commit, digest=_git_text(self.root, "rev-parse", f"{commit}^{{tree}}"))

    def extract(self, tree: Tree, folder: Path) -> None:
        """Write the tree's files into a folder."""
        archive = _git(self.root, "archive", "--format=tar", tree.digest, environment=tree.environment)
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")

    def changed_files(self, base: Tree, head: Tree) -> list[str]:
        """Return the paths that differ between two trees."""
        command = ("diff-tree", "-r", "--name-only", "-z", base.digest, head.digest)
        listed = _git(self.root, *command, environment={**base.environment, **head.environment})
        return [name for name in listed.decode().split("\0") if name]

    def _working_tree(self) -> Tree:
        """Write a tree of everything `git add` would add, to an object store outside the repository."""
        scratch = Path(self._scratch.enter_context(tempfile.TemporaryDirectory(prefix="stack-gate-")))
        objects = _git_text(self.root, "rev-parse", "--path-format=absolute", "--git-path", "objects")
        index = Path(_git_text(self.root, "rev-parse", "--path-format=absolute", "--git-path", "index"))
        environment = {
            "GIT_INDEX_FILE": str(scratch / "index"),
            "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        (scratch / "objects").mkdir()
        if index.exists():
            shutil.copyfile(index, scratch / "index")
        _git(self.root, "add", "--all", environment=environment)
        digest = _git_text(self.root, "write-tree", environment=environment)
        return Tree(name=WORKING_TREE, commit="", digest=digest, environment=environment)


def _git_text(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    return _git(folder, *arguments, environment=environment).decode().strip()


def _git(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, env={**os.environ, **(environment or {})}
        )
    except FileNotFoundError as error:
        raise GateError("git was not found on PATH") from error
    if done.returncode != 0:
        raise GateError(f"git {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
