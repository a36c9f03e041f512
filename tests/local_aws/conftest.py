"""Fixture: the real template, synthesised without bundling. Imports moto's CloudFormation as the server does."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.assertions import Template

from infra.config import from_context
from infra.stack import MusicGenStack
from local_aws.emulator.moto_changes.moto_imports import import_cloudformation

import_cloudformation()  # before test modules do: with all services it takes a second
ROOT = Path(__file__).resolve().parents[2]


def _synthesise(**overrides: str) -> dict[str, Any]:
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    app = App(context={**context, "aws:cdk:bundling-stacks": []}, builtin_cloud_formation_validation=False)
    stack = MusicGenStack(app, config=from_context({**context, **overrides}))
    return dict(Template.from_stack(stack).to_json())


@pytest.fixture(scope="session")
def synthesised() -> dict[str, dict[str, Any]]:
    """The dev template with a maximum capacity of "one" (the default) and of "four"; do not modify it."""
    return {"one": _synthesise(), "four": _synthesise(max_capacity="4")}
