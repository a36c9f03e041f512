"""What installing the client brings: its dependencies are what it imports."""

import ast
import re
import sys
import tomllib
from pathlib import Path

CLIENT = Path(__file__).parents[2] / "client"


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", requirement)[0] for requirement in requirements}


def test_dependencies_are_the_packages_that_are_imported() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sources = sorted((CLIENT / "musicgen_client").rglob("*.py"))
    found = set[str]().union(*(imported(ast.parse(path.read_text(encoding="utf-8"))) for path in sources))
    found -= sys.stdlib_module_names | {"musicgen_client"}
    brought = {"botocore"}  # boto3 pins it, so that two requirements could contradict each other
    optional = [entry for extra in project["optional-dependencies"].values() for entry in extra]
    assert found - brought == distributions(project["dependencies"]) | distributions(optional)


def test_optional_packages_are_imported_only_when_they_are_used() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = distributions([entry for extra in project["optional-dependencies"].values() for entry in extra])
    for path in (CLIENT / "musicgen_client").rglob("*.py"):
        statements = ast.parse(path.read_text(encoding="utf-8")).body
        at_import: list[ast.stmt] = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not imported(ast.Module(at_import, [])) & optional, path
