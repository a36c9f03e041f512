"""cfn-lint, checkov and cdk-nag on both sides: what newly fails, whatever the head suppresses.

Metadata is left out of the templates, so that no suppression in them counts; configuration files are the base's.
rules/suppressions.py reports new suppressions.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stack_gate.boundary.launch import own_root
from stack_gate.checks.children import Child
from stack_gate.diff.stacks import Pair
from stack_gate.findings import Finding
from stack_gate.template import Json, Stack, as_list, as_object

CHECKOV_FOLDER = ".venv-checkov"
CONFIGURATIONS = (".cfnlintrc.yaml", ".cfnlintrc.yml", ".cfnlintrc", ".checkov.yaml", ".checkov.yml")
_ASSET_KEY = re.compile(r"[0-9a-f]{64}(\.[a-z0-9.]{1,20})")
WHY = "a check that passes on the base fails"


@dataclass(frozen=True, kw_only=True)
class Linter:
    """A linter by the name that people know, and how it runs; `missing` says why it cannot, "" if it can."""

    name: str
    child: Child
    missing: str


def linters(configuration: Mapping[str, str]) -> list[Linter]:
    """Return the three linters, the slowest first. `configuration` has the base's CONFIGURATIONS by name."""
    python = own_root() / CHECKOV_FOLDER / "bin" / "python"
    cfn_lint = Child(
        script="run_cfn_lint.py",
        packages=("cfn-lint",),
        settings={name: text for name, text in configuration.items() if name.startswith(".cfnlintrc")},
    )
    cdk_nag = Child(script="run_cdk_nag.py", packages=("cdk-nag", "aws-cdk-lib"))
    checkov = Child(
        script="run_checkov.py",
        settings={name: text for name, text in configuration.items() if name.startswith(".checkov")},
        python=python,
        key=_version(python),
    )
    no_checkov = "" if python.exists() else f"{CHECKOV_FOLDER} is missing, which `make lint` makes"
    return [
        Linter(name="checkov", child=checkov, missing=no_checkov),
        Linter(name="cfn-lint", child=cfn_lint, missing=cfn_lint.missing()),
        Linter(name="cdk-nag", child=cdk_nag, missing=cdk_nag.missing()),
    ]


def _version(python: Path) -> str:
    """Return the names of the packages in an environment, which have their versions."""
    return " ".join(sorted(path.name for path in python.parents[1].glob("lib/python*/site-packages/*.dist-info")))


def without_metadata(template: dict[str, Json]) -> str:
    """Return a template as JSON without metadata, which may suppress and configure checks."""
    resources = {
        logical_id: {key: value for key, value in as_object(resource).items() if key != "Metadata"}
        for logical_id, resource in as_object(template.get("Resources")).items()
    }
    plain = {key: value for key, value in template.items() if key != "Metadata"}
    return json.dumps({**plain, "Resources": resources}, sort_keys=True)


def without_asset_hashes(text: str, stack: Stack) -> str:
    """Return a template's text with the same hash in every object key of the stack's own assets.

    They change with every edit of code, which no check is about; so its answers are the cached ones.
    """
    for key in stack.asset_keys or ():
        found = _ASSET_KEY.fullmatch(key)
        if found:
            text = text.replace(f'"{key}"', f'"{"0" * 64}{found[1]}"')
    return text


def newly_failing(name: str, pair: Pair, before: Json, after: Json) -> Iterator[Finding]:
    """Yield a finding for each rule that fails on a resource of the head more often than on the base's."""
    known = Counter(_key(row, pair.base) for row in map(as_object, as_list(before)))
    shown: set[tuple[str, str]] = set()
    for row in map(as_object, as_list(after)):
        key = _key(row, pair.head)
        known[key] -= 1
        if known[key] < 0 and key not in shown:
            shown.add(key)
            rule, resource = key
            yield Finding(
                class_name="lint", resource=resource, what=f"{name} {rule}: {str(row.get('text')).rstrip('.')}", why=WHY
            )


def _key(row: dict[str, Json], stack: Stack) -> tuple[str, str]:
    """Return rule and resource, both by construct path: a renamed resource fails nothing newly."""
    rule = stack.display_references(str(row.get("rule", "")))
    return rule, stack.display(str(row.get("resource", "")))
