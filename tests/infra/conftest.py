"""Stacks synthesised without bundling; the content of the staging Lambda's asset has tests of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.assertions import Template

from infra.config import Config, from_context
from infra.stack import MusicGenStack
from tests.infra.templates import Find, OfType, Synthesise, all_properties, properties

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cdk_context() -> dict[str, Any]:
    """The context of cdk.json: feature flags and environments."""
    return json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]


@pytest.fixture(scope="session")
def synthesise(cdk_context: dict[str, Any]) -> Synthesise:
    """A function that returns the template for `-c` overrides; equal configurations share one template."""
    templates: dict[Config, Template] = {}

    def synthesise_with(**overrides: Any) -> Template:
        config = from_context({**cdk_context, **overrides})
        if config not in templates:
            # Templates name assets by their hashes, so that no copies of the assets are needed.
            context: dict[str, Any] = {
                **cdk_context, "aws:cdk:bundling-stacks": [], "aws:cdk:disable-asset-staging": True,
            }  # fmt: skip
            # CDK's rules take seconds to load; the tests of app.py apply them.
            app = App(context=context, builtin_cloud_formation_validation=False)
            templates[config] = Template.from_stack(MusicGenStack(app, config=config))
        return templates[config]

    return synthesise_with


@pytest.fixture(scope="session")
def dev_template(synthesise: Synthesise) -> dict[str, Any]:
    """The template of the dev environment."""
    return dict(synthesise().to_json())


@pytest.fixture(scope="session")
def of_type(synthesise: Synthesise) -> OfType:
    """A function that returns the properties of all the dev template's resources of a type."""
    return lambda resource_type: all_properties(synthesise(), resource_type)


@pytest.fixture(scope="session")
def only(synthesise: Synthesise) -> Find:
    """A function that returns the properties of the dev template's one resource of a type and logical id prefix."""

    def find(resource_type: str, prefix: str = "") -> dict[str, Any]:
        return properties(synthesise(), resource_type, prefix)

    return find
