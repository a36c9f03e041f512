"""The real stack, synthesised in process, and copies of it to change."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aws_cdk import App

from infra.config import from_context
from infra.stack import MusicGenStack
from stack_gate.assembly import read_assembly
from stack_gate.template import Stack, is_list, is_object

ROOT = Path(__file__).resolve().parents[3]
PRICES: dict[str, float] = json.loads((ROOT / "infra/config/prices.json").read_text(encoding="utf-8"))["usd_per_hour"]

Template = dict[str, Any]
Change = Callable[["Draft"], None]


def synthesise(folder: Path, **overrides: Any) -> Stack:
    """The stack that the context of cdk.json describes, without what pip would put into its asset."""
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    own: dict[str, Any] = {"aws:cdk:bundling-stacks": [], "aws:cdk:enable-path-metadata": True}
    app = App(outdir=str(folder), context={**context, **own})
    MusicGenStack(app, config=from_context({**context, **overrides}))
    app.synth()
    return read_assembly(folder)[0]


class Draft:
    """A copy of a stack's template, changed by construct path."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.template: Template = copy.deepcopy(stack.template)
        self.termination_protection = stack.termination_protection

    def stack(self) -> Stack:
        """The changed stack."""
        return Stack(
            name=self._stack.name,
            template=self.template,
            region=self._stack.region,
            account=self._stack.account,
            termination_protection=self.termination_protection,
            assets=self._stack.assets,
        )

    @property
    def resources(self) -> dict[str, Any]:
        """Resources by logical id."""
        return self.template["Resources"]

    def id(self, path: str) -> str:
        """The logical id of the resource at a construct path. KeyError where there is none."""
        found = [name for name in self.resources if Stack(name="", template=self.template).display(name) == path]
        if len(found) != 1:
            raise KeyError(f"one resource must be at {path}, got {found}")
        return found[0]

    def resource(self, path: str) -> dict[str, Any]:
        """The resource at a construct path."""
        return self.resources[self.id(path)]

    def properties(self, path: str) -> dict[str, Any]:
        """Its properties."""
        return self.resource(path).setdefault("Properties", {})

    def statements(self, path: str) -> list[dict[str, Any]]:
        """The statements of its policy document."""
        return self.properties(path)["PolicyDocument"]["Statement"]

    def trust(self, path: str) -> dict[str, Any]:
        """The first statement of a role's trust."""
        return self.properties(path)["AssumeRolePolicyDocument"]["Statement"][0]

    def rename(self, path: str, new_id: str) -> None:
        """Another logical id for a resource and all references to it."""
        old_id = self.id(path)
        text = json.dumps(self.template).replace(f'"{old_id}"', f'"{new_id}"').replace(f"${{{old_id}", f"${{{new_id}")
        self.template = json.loads(text)

    def add(self, logical_id: str, type_name: str, **properties: Any) -> dict[str, Any]:
        """A new resource."""
        self.resources[logical_id] = {"Type": type_name, "Properties": properties}
        return self.resources[logical_id]

    def remove(self, path: str) -> None:
        """No such resource, and nothing that speaks of it."""
        logical_id = self.id(path)
        del self.resources[logical_id]
        _forget(self.template, logical_id)


def _forget(node: Any, logical_id: str) -> bool:
    """Take out what refers to a resource; whether the node itself does, or is a statement about nothing now."""
    if isinstance(node, str):
        return node == logical_id
    if is_list(node):
        before = len(node)
        node[:] = [item for item in node if not _forget(item, logical_id)]
        return before > 0 and not node
    if not is_object(node):
        return False
    function = len(node) == 1 and next(iter(node)) in ("Ref", "Fn::GetAtt", "Fn::Join", "Fn::Sub")
    if function:
        return f'"{logical_id}"' in json.dumps(node)
    for key in [key for key, value in node.items() if _forget(value, logical_id)]:
        del node[key]
    return "Effect" in node and "Resource" not in node and "Principal" not in node


def changed(stack: Stack, change: Change) -> Stack:
    """A copy with a change made to it."""
    draft = Draft(stack)
    change(draft)
    return draft.stack()
