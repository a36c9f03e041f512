"""List everything of moto that this package replaces or imports, in moto_internals.json, with a hash of its source.

What is replaced is found by applying the patches: a function of moto's whose code is in this package.

An upgrade of moto begins with `find_changed`, which names what to read again; then
`python -m local_aws.emulator.moto_changes.moto_internals` writes the list for the new version. moto's files are read,
not imported, so that patches in this process do not matter. What moto lacks and this package adds is listed with null.
"""

import ast
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

LIST = Path(__file__).with_suffix(".json")
PACKAGE = Path(__file__).parents[2]
_WHOLE_MODULES = ("moto.awslambda:urls", "moto.s3:exceptions")


def find_changed(listed: dict[str, str | None]) -> str | None:
    """Return the first name in `listed` (source hashes by `module:name`) that moto changed or removed, or None."""
    return next((name for name, digest in sorted(listed.items()) if source_digest(name) != digest), None)


def source_digest(name: str) -> str | None:
    """Return a hash of the source of `module:Class.method`, or None if moto has no such name."""
    module, _, path = name.partition(":")
    spec = importlib.util.find_spec("moto")
    assert spec and spec.origin
    file = Path(spec.origin).parent.joinpath(*module.split(".")[1:])
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    if not file.exists():
        return None
    text = file.read_text(encoding="utf-8")
    node: ast.AST | None = ast.parse(text)
    for part in path.split("."):
        node = next((item for item in getattr(node, "body", []) if part in _names(item)), None)
        if node is None:
            return None
    return hashlib.sha256((ast.get_source_segment(text, node) or "").encode()).hexdigest()[:16]


def _names(node: ast.AST) -> list[str]:
    """Return what a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.ImportFrom | ast.Import):
        return [alias.asname or alias.name for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def imported_names() -> Iterator[str]:
    """Yield what the modules of this package import from moto, except whole modules."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("moto."):
                names = (f"{node.module}:{alias.name}" for alias in node.names)
                yield from (name for name in names if name not in _WHOLE_MODULES)


def replaced_names() -> Iterator[str]:
    """Apply the patches, and yield the functions of moto that are now this package's. For a process of its own."""
    from local_aws.emulator import clients  # here: they import moto, which the rest only reads
    from local_aws.emulator.moto_changes import moto_patches

    folder = Path(tempfile.mkdtemp())
    clients.set_runtime(clients.Runtime("http://127.0.0.1:9", folder, folder / "none", folder / "none"))
    moto_patches.install()
    for name, module in sorted(sys.modules.items()):
        if name.startswith("moto."):
            for owner in [module, *(item for item in vars(module).values() if isinstance(item, type))]:
                yield from _replaced_in(owner, name)


def _replaced_in(owner: Any, module: str) -> Iterator[str]:
    if isinstance(owner, type) and owner.__module__ != module:  # imported from elsewhere
        return
    prefix = f"{module}:{owner.__qualname__}." if isinstance(owner, type) else f"{module}:"
    for name, value in vars(owner).items():
        if isinstance(value, FunctionType) and Path(value.__code__.co_filename).is_relative_to(PACKAGE):
            yield prefix + name


def found_names() -> set[str]:
    """Return everything to list, from a process of its own that applies the patches."""
    program = [sys.executable, "-m", "local_aws.emulator.moto_changes.moto_internals", "--replaced"]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    return {*json.loads(done.stdout), *imported_names()}


def write_list() -> None:
    """Write the list for the installed moto."""
    names = sorted(found_names())
    LIST.write_text(json.dumps({name: source_digest(name) for name in names}, indent=2) + "\n", encoding="utf-8")


def read_list() -> dict[str, str | None]:
    """Return the list: source hashes by `module:name`, null for what moto lacks."""
    return json.loads(LIST.read_text(encoding="utf-8"))


if __name__ == "__main__":
    if sys.argv[1:] == ["--replaced"]:
        print(json.dumps(sorted(set(replaced_names()))))
        sys.stdout.flush()
        os._exit(0)  # the patches have started threads
    write_list()
