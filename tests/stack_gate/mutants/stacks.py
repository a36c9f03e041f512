"""The real stack, synthesised in process, and drafts of it to change."""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aws_cdk import App

from infra.config import from_context
from infra.stack import MusicGenStack
from stack_gate.collect.snapshots import read_prices
from stack_gate.collect.synthesis import read_assembly
from stack_gate.report.report import Comparison
from stack_gate.template import Stack, is_list, is_object

ROOT = Path(__file__).resolve().parents[3]
PRICES = read_prices(ROOT)

Template = dict[str, Any]
Change = Callable[["Draft"], None]
Compare = Callable[[Sequence[tuple[Stack, Stack]]], list[Comparison]]


def synthesise(folder: Path, **overrides: Any) -> Stack:
    """Return the stack of cdk.json with overridden settings, without the packages that pip would bundle."""
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    own: dict[str, Any] = {"aws:cdk:bundling-stacks": [], "aws:cdk:enable-path-metadata": True}
    app = App(outdir=str(folder), context={**context, **own}, builtin_cloud_formation_validation=False)
    MusicGenStack(app, config=from_context({**context, **overrides}))
    app.synth()
    _enclose_assets(folder)
    return read_assembly(folder)[0]


def _enclose_assets(folder: Path) -> None:
    """Point assets that were not bundled, which are folders of this repository, at an empty folder of the assembly."""
    (empty := folder / "not-bundled").mkdir(exist_ok=True)
    for path in folder.glob("*.assets.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for entry in manifest["files"].values():
            if not (folder / entry["source"]["path"]).resolve().is_relative_to(folder.resolve()):
                entry["source"]["path"] = empty.name
        path.write_text(json.dumps(manifest), encoding="utf-8")


class Draft:
    """A copy of a stack's template, changed by construct path."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.template: Template = copy.deepcopy(stack.template)
        self.termination_protection = stack.termination_protection
        self.asset_keys = list(stack.asset_keys or [])

    def stack(self) -> Stack:
        """Return the changed stack."""
        return replace(
            self._stack,
            template=self.template,
            termination_protection=self.termination_protection,
            asset_keys=self.asset_keys,
        )

    @property
    def resources(self) -> dict[str, Any]:
        """Resources by logical id."""
        return self.template["Resources"]

    def id(self, path: str) -> str:
        """Return the logical id of the resource at a construct path. Raise KeyError unless there is exactly one."""
        found = [name for name in self.resources if Stack(name="", template=self.template).display(name) == path]
        if len(found) != 1:
            raise KeyError(f"expected one resource at {path}, got {found}")
        return found[0]

    def resource(self, path: str) -> dict[str, Any]:
        return self.resources[self.id(path)]

    def properties(self, path: str) -> dict[str, Any]:
        return self.resource(path).setdefault("Properties", {})

    def statements(self, path: str) -> list[dict[str, Any]]:
        """Return the statements of a resource's policy document."""
        return self.properties(path)["PolicyDocument"]["Statement"]

    def trust(self, path: str) -> dict[str, Any]:
        """Return the first statement of a role's trust policy."""
        return self.properties(path)["AssumeRolePolicyDocument"]["Statement"][0]

    def rename(self, path: str, new_id: str) -> None:
        """Change the logical id of a resource and every reference to it."""
        old_id = self.id(path)
        text = json.dumps(self.template).replace(f'"{old_id}"', f'"{new_id}"').replace(f"${{{old_id}", f"${{{new_id}")
        self.template = json.loads(text)

    def add(self, logical_id: str, type_name: str, **properties: Any) -> dict[str, Any]:
        self.resources[logical_id] = {"Type": type_name, "Properties": properties}
        return self.resources[logical_id]

    def upload(self, key: str) -> str:
        """Add an asset to the manifest and return its object key."""
        self.asset_keys.append(key)
        return key

    def remove(self, path: str) -> None:
        """Remove a resource and every reference to it."""
        logical_id = self.id(path)
        del self.resources[logical_id]
        _remove_references(self.template, logical_id)


def _remove_references(node: Any, logical_id: str) -> bool:
    """Remove references to a resource; return whether the node itself is one, or a statement left without a target."""
    if isinstance(node, str):
        return node == logical_id
    if is_list(node):
        before = len(node)
        node[:] = [item for item in node if not _remove_references(item, logical_id)]
        return before > 0 and not node
    if not is_object(node):
        return False
    function = len(node) == 1 and next(iter(node)) in ("Ref", "Fn::GetAtt", "Fn::Join", "Fn::Sub")
    if function:
        return f'"{logical_id}"' in json.dumps(node)
    for key in [key for key, value in node.items() if _remove_references(value, logical_id)]:
        del node[key]
    return "Effect" in node and "Resource" not in node and "Principal" not in node


def changed(stack: Stack, change: Change) -> Stack:
    """Return a copy of the stack with the change applied."""
    draft = Draft(stack)
    change(draft)
    return draft.stack()
