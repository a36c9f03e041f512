"""Stacks synthesised without bundling: what pip would put into the asset has a test of its own."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.assertions import Template

from infra.config import from_context
from infra.stack import MusicGenStack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cdk_context() -> dict[str, Any]:
    """The context of cdk.json: feature flags and environments."""
    return json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]


@pytest.fixture(scope="session")
def synthesise(cdk_context: dict[str, Any]) -> Callable[..., Template]:
    """The template of the stack that a context, such as `-c` gives it, describes."""

    def synthesise_with(**overrides: Any) -> Template:
        app = App(context={**cdk_context, "aws:cdk:bundling-stacks": []})
        stack = MusicGenStack(app, config=from_context({**cdk_context, **overrides}))
        return Template.from_stack(stack)

    return synthesise_with


@pytest.fixture(scope="session")
def dev_template(synthesise: Callable[..., Template]) -> dict[str, Any]:
    """The whole template of the dev environment."""
    return dict(synthesise().to_json())


@pytest.fixture(scope="session")
def plain() -> Callable[[Any], str]:
    """Writes an ARN or a reference as text: `<LogicalId>` without CDK's hash, `<AccountId>`."""

    def written(value: Any) -> str:
        if isinstance(value, str):
            return value
        if "Ref" in value:
            return _name(value["Ref"])
        if "Fn::GetAtt" in value:
            return _name(value["Fn::GetAtt"][0])
        if "Fn::Sub" in value:
            return re.sub(r"\$\{([^}]*)\}", lambda found: _name(found[1]), value["Fn::Sub"])
        return "".join(written(part) for part in value["Fn::Join"][1])

    return written


def _name(logical_id: str) -> str:
    return f"<{re.sub('[0-9A-F]{8}$', '', logical_id.removeprefix('AWS::'))}>"


@pytest.fixture(scope="session")
def of_type(dev_template: dict[str, Any]) -> Callable[[str], list[dict[str, Any]]]:
    """The properties of all resources of a type."""

    def find(resource_type: str) -> list[dict[str, Any]]:
        return [r["Properties"] for r in dev_template["Resources"].values() if r["Type"] == resource_type]

    return find


@pytest.fixture(scope="session")
def only(dev_template: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """The properties of the one resource of a type whose logical id begins so."""

    def find(resource_type: str, prefix: str = "") -> dict[str, Any]:
        found = [
            resource["Properties"]
            for logical_id, resource in dev_template["Resources"].items()
            if resource["Type"] == resource_type and logical_id.startswith(prefix)
        ]
        assert len(found) == 1, f"{len(found)} resources of type {resource_type} begin with {prefix!r}"
        return found[0]

    return find
