"""Revisions of the repository as git trees; the working tree is a revision too."""

import os
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from stack_gate import GateError

WORKING_TREE = "working tree"
FILE, EXECUTABLE, LINK, SUBMODULE = "100644", "100755", "120000", "160000"  # modes of git's tree entries


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of a tree: git's mode, and the hash of its content."""

    mode: str
    blob: str


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

    def read(self, tree: Tree, path: str) -> bytes | None:
        """Return the content of one file of a tree, None if it has no such file."""
        entry = self.files(tree).get(path)
        return None if entry is None or entry.mode == SUBMODULE else self.blobs(tree, [entry.blob])[entry.blob]

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

    def files(self, tree: Tree) -> dict[str, "Entry"]:
        """Return every file of a tree by its path."""
        listed = _git(self.root, "ls-tree", "-r", "-z", "--full-tree", tree.digest, environment=tree.environment)
        found: dict[str, Entry] = {}
        for line in filter(None, listed.decode(errors="surrogateescape").split("\0")):
            description, _, path = line.partition("\t")
            mode, _, blob = description.split()
            found[path] = Entry(mode=mode, blob=blob)
        return found

    def blobs(self, tree: Tree, names: Iterable[str]) -> dict[str, bytes]:
        """Return the content of blobs by their hash, byte for byte as git stores them."""
        wanted = list(dict.fromkeys(names))
        request = "".join(f"{name}\n" for name in wanted).encode()
        answer = _git(self.root, "cat-file", "--batch", environment=tree.environment, data=request)
        contents: dict[str, bytes] = {}
        position = 0
        for name in wanted:
            header_end = answer.index(b"\n", position)
            fields = answer[position:header_end].split()
            if len(fields) != 3 or fields[1] != b"blob":
                raise GateError(f"git has no blob {name}: {answer[position:header_end].decode(errors='replace')}")
            start, size = header_end + 1, int(fields[2])
            contents[name] = answer[start : start + size]
            position = start + size + 1
        return contents

    def extract(self, tree: Tree, folder: Path) -> None:
        """Write the tree's files into a folder that does not exist, each byte as committed.

        Neither `git archive` nor a checkout: attributes of the revision (`export-ignore`, `export-subst`, filters, line
        endings) would decide what is judged. Raise GateError for what the tree does not hold: a submodule, a link that
        leaves the tree, an unsafe name.
        """
        entries = self.files(tree)
        for path, entry in entries.items():
            _check_entry(path, entry)
        contents = self.blobs(tree, (entry.blob for entry in entries.values()))
        folder.mkdir(parents=True)
        links = {path: contents[entry.blob] for path, entry in entries.items() if entry.mode == LINK}
        for path, entry in entries.items():
            if path not in links:
                file = folder / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(contents[entry.blob])
                file.chmod(0o755 if entry.mode == EXECUTABLE else 0o644)
        for path, content in links.items():  # last, so that no file is written through a link
            target = os.fsdecode(content)
            if Path(target).is_absolute() or os.path.normpath(Path(path).parent / target).split("/")[0] == "..":
                raise GateError(f"the link {path} leaves the repository: it points to {target[:200]!r}")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(target)
        for path in links:
            if not (folder / path).resolve().is_relative_to(folder.resolve()):
                raise GateError(f"the link {path} leaves the repository through another link")

    def changed_files(self, base: Tree, head: Tree) -> list[str]:
        """Return the paths whose content, type or mode differs between two trees."""
        before, after = self.files(base), self.files(head)
        return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))

    def _working_tree(self) -> Tree:
        """Write a tree of everything `git add` would add, to an object store outside the repository."""
        scratch = Path(self._scratch.enter_context(tempfile.TemporaryDirectory(prefix="stack-gate-")))
        objects = _git_text(self.root, "rev-parse", "--path-format=absolute", "--git-path", "objects")
        environment = {
            "GIT_INDEX_FILE": str(scratch / "index"),
            "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        (scratch / "objects").mkdir()
        # Not a copy of the index: by its times, and its marks "assume unchanged", git would skip changed files.
        tracked = _git(self.root, "ls-files", "--stage", "-z", "--full-name", ":/")
        _git(self.root, "update-index", "-z", "--index-info", environment=environment, data=tracked)
        _git(self.root, "add", "--all", environment=environment)
        digest = _git_text(self.root, "write-tree", environment=environment)
        return Tree(name=WORKING_TREE, commit="", digest=digest, environment=environment)


def _check_entry(path: str, entry: Entry) -> None:
    if entry.mode == SUBMODULE:
        raise GateError(f"{path} is a submodule, whose content the gate does not read")
    if entry.mode not in (FILE, EXECUTABLE, LINK, "100664"):
        raise GateError(f"{path} has mode {entry.mode}, which must be a file or a link")
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or "\\" in path:
        raise GateError(f"{path!r} is not a safe file name")


def _git_text(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    return _git(folder, *arguments, environment=environment).decode().strip()


def _git(folder: Path, *arguments: str, environment: dict[str, str] | None = None, data: bytes | None = None) -> bytes:
    """Run git without the caller's GIT_* variables, and without replacement objects, which would swap commits."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables = {**inherited, "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0", **(environment or {})}
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, env=variables, input=data)
    except FileNotFoundError as error:
        raise GateError("git was not found on PATH") from error
    if done.returncode != 0:
        raise GateError(f"git {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
