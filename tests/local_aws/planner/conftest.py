"""Fixture: the real template, synthesised without bundling."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.assertions import Template

from infra.config import from_context
from infra.stack import MusicGenStack

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def synthesised_template() -> dict[str, Any]:
    """The template of the dev environment; do not modify it."""
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    app = App(context={**context, "aws:cdk:bundling-stacks": []})
    return dict(Template.from_stack(MusicGenStack(app, config=from_context(context))).to_json())
