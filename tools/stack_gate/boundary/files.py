"""Changed files that decide how changes are judged, built or deployed: the class `gate`.

None of them reaches this run, which the base judges, but each would decide about the next one.
"""

import importlib.metadata
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import PurePosixPath

from stack_gate import GateError
from stack_gate.boundary.workflows import find_workflow_changes
from stack_gate.collect.git import LINK, SUBMODULE, Entry, Repository, Tree
from stack_gate.findings import Finding, digest_of
from stack_gate.template import canonical, is_object

ACCEPTANCES = "gate-acceptances.toml"
IMPORT_ROOTS = ("", "lambda/", "local/", "tools/", "model_bundle/code/")  # the Makefile's PYTHONPATH
# {regular expression for a path: why}; the first that matches counts.
FILES = {
    r"tools/stack_gate/.*": "it is the gate itself: the next pull request is judged by it",
    r"\.github/.*|\.gitlab-ci\.yml|\.gitlab/.*": "it decides what runs on a pull request, and with which rights",
    r"\.ci/.*": "continuous integration runs it",
    r"(.*/)?(GNU)?[Mm]akefile|.*\.mk": "continuous integration and deployments run it",
    rf"{ACCEPTANCES}": "it lets findings pass",
    r"(.*/)?CODEOWNERS": "it decides who must review",
    r"(.*/)?\.gitattributes": "git's attributes change what a checkout contains",
    r"(.*/)?\.gitmodules": "submodules bring in files that nobody reviews here",
    r"(.*/)?(requirements[^/]*|constraints[^/]*)\.(txt|in)": "it decides which packages run",
    r"(.*/)?(package|package-lock|npm-shrinkwrap)\.json|(.*/)?(yarn|pnpm-lock|uv|poetry|Pipfile|pdm)\.(lock|yaml)": (
        "it decides which packages run"
    ),
    r"(.*/)?(\.npmrc|\.yarnrc.*|pip\.conf|uv\.toml|\.pypirc|\.pdbrc|\.netrc)": "it decides where packages come from",
    r"(.*/)?(pyproject\.toml|setup\.(py|cfg)|tox\.ini|pytest\.ini|pyrightconfig\.json|\.?ruff\.toml)": (
        "it configures the tools that check the code"
    ),
    r"\.(cfnlintrc|checkov|pre-commit-config)[^/]*|zizmor\.ya?ml": "it configures the tools that check the code",
    r"(.*/)?(conftest|sitecustomize|usercustomize)\.py|.*\.pth": "Python runs it before anything else",
    r"(.*/)?(\.venv[^/]*|node_modules|__pycache__)/.*|.*\.(pyc|so|node)": "nobody reviews installed or compiled code",
    r"(.*/)?(\.python-version|\.node-version|\.nvmrc|\.tool-versions|\.envrc|\.env)": "it decides which programs run",
    r"tools/cdk\.js|\.cdk\.json|cdk\.context\.json/.*": "it starts the CDK command line",
}


def find_gate_changes(repository: Repository, base: Tree, head: Tree) -> list[Finding]:
    """Return a finding of class `gate` for every change of what decides about later changes."""
    before, after = repository.files(base), repository.files(head)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    found = [_finding(path, before.get(path), after.get(path), why) for path, why in _reasons(changed, before, after)]
    found += _command_changes(repository, base, head)
    for path in changed:
        if path.startswith(".github/") and path.endswith((".yml", ".yaml")):
            found += find_workflow_changes(path, repository.read(base, path), repository.read(head, path))
    return found


def _reasons(
    changed: Iterable[str], before: Mapping[str, Entry], after: Mapping[str, Entry]
) -> Iterator[tuple[str, str]]:
    """Yield the changed paths that need a review of their own, with the reason."""
    old_names = {root: _modules(before, root) for root in IMPORT_ROOTS}
    for path in changed:
        entry = after.get(path)
        why = next((why for pattern, why in FILES.items() if re.fullmatch(pattern, path)), None)
        if why is None and entry is not None and entry.mode in (LINK, SUBMODULE):
            why = "it brings in the content of another place"
        yield from [(path, why)] if why else []
        if why is None and entry is not None:
            shadowed = next((name for name in _shadowed(path, old_names)), None)
            if shadowed:
                yield path, f"Python would import it in place of {shadowed}"


def _modules(entries: Iterable[str], root: str) -> set[str]:
    """Return the names that `import` finds in a folder of the import path."""
    return {name for path in entries if (name := _module(path, root))}


def _module(path: str, root: str) -> str:
    below = path.removeprefix(root) if path.startswith(root) else ""
    first, _, rest = below.partition("/")
    return first if rest else PurePosixPath(first).stem if first.endswith(".py") else ""


def _shadowed(path: str, old_names: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield the modules that a path newly comes before, or after, on the import path."""
    for root in IMPORT_ROOTS:
        name = _module(path, root)
        if not name or name in old_names[root] or not path.endswith(".py"):
            continue
        if name in sys.stdlib_module_names:
            yield f"the standard library's {name}"
        elif name in _installed_modules():
            yield f"the installed package {name}"
        elif any(name in names for other, names in old_names.items() if other != root):
            yield f"the project's own {name}"


@cache
def _installed_modules() -> frozenset[str]:
    return frozenset(importlib.metadata.packages_distributions())


def _finding(path: str, before: Entry | None, after: Entry | None, why: str) -> Finding:
    what = "added" if before is None else "removed" if after is None else "changed"
    digest = digest_of("file", path, *(f"{entry.mode} {entry.blob}" if entry else "" for entry in (before, after)))
    return Finding(class_name="gate", resource=path, what=what, why=why, digest=digest)


def _command_changes(repository: Repository, base: Tree, head: Tree) -> Iterator[Finding]:
    """Yield the changes of cdk.json outside its context: the commands and roles that CDK uses wherever it runs."""
    before, after = (_settings(repository.read(tree, "cdk.json")) for tree in (base, head))
    for name in sorted(before.keys() | after.keys()):
        old, new = canonical(before.get(name)), canonical(after.get(name))
        if name != "context" and old != new:
            yield Finding(
                class_name="gate",
                resource="cdk.json",
                what=f"{name}: {old[:160]} → {new[:160]}",
                why="CDK runs or obeys it wherever the stack is synthesised or deployed",
                digest=digest_of("cdk.json", name, old, new),
            )


def _settings(content: bytes | None) -> dict[str, object]:
    if content is None:
        return {}
    try:
        settings = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise GateError(f"cdk.json could not be read as JSON: {error}") from error
    if not is_object(settings):
        raise GateError("cdk.json must be a JSON object")
    return settings
