"""What a change set would do, property by property, before it does it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

from moto.cloudformation.models import Change
from moto.core.exceptions import ServiceException

from local_aws.emulator.cloudformation.deployed import Deployed, DeployedResources
from local_aws.emulator.cloudformation.template import dependency_order, references
from local_aws.emulator.resources import find_handler

Json = Mapping[str, Any]


@dataclass(frozen=True)
class _PropertyChange:
    name: str
    dynamic: bool  # the new value depends on something that is only known once it is deployed
    recreates: bool

    def detail(self) -> dict[str, Any]:
        recreation = "Never" if not self.recreates else "Conditionally" if self.dynamic else "Always"
        return {
            "Target": {"Attribute": "Properties", "Name": self.name, "RequiresRecreation": recreation},
            "Evaluation": "Dynamic" if self.dynamic else "Static",
            "ChangeSource": "ResourceReference" if self.dynamic else "DirectModification",
        }


def describe_changes(current: DeployedResources, template: dict[str, Any], parameters: dict[str, Any]) -> list[Change]:
    """The changes from what is deployed to `template`, in the order in which they would happen."""
    planned = copy(current)
    planned.deployed = dict(current.deployed)
    planned.resolved_parameters, planned.tags = {}, dict(current.tags)
    planned._parsed_resources = dict(current._parsed_resources)  # pyright: ignore[reportPrivateUsage] -- moto's own
    planned.use(template, parameters)
    moving: set[str] = set()
    changes: list[Change] = []
    for logical_id in dependency_order(template):
        definition = template["Resources"][logical_id]
        if planned.is_wanted(definition):
            change = _describe(planned, logical_id, definition, moving)
            changes += [change] if change else []
    kept = {name for name, definition in template["Resources"].items() if planned.is_wanted(definition)}
    for logical_id, resource in current.deployed.items():
        if logical_id not in kept:
            changes.append(_change("Remove", logical_id, resource.resource_type, resource.physical_id))
    return changes


def _describe(planned: DeployedResources, logical_id: str, definition: Json, moving: set[str]) -> Change | None:
    resource_type, current = str(definition["Type"]), planned.deployed.get(logical_id)
    if current is None:
        moving.add(logical_id)
        return _change("Add", logical_id, resource_type)
    properties = _property_changes(planned, current, definition, moving)
    if not properties and current.resource_type == resource_type:
        return None
    change = _change("Modify", logical_id, resource_type, current.physical_id)
    change.scope = ["Properties"]
    change.details = [item.detail() for item in properties]
    change.replacement = _replacement(properties, current.resource_type != resource_type)
    # A custom resource may answer an update with new attributes, all else keeps them unless it is replaced.
    if change.replacement != "False" or resource_type.startswith("Custom::"):
        moving.add(logical_id)
    return change


def _property_changes(
    planned: DeployedResources, current: Deployed, definition: Json, moving: set[str]
) -> list[_PropertyChange]:
    wanted: Json = definition.get("Properties", {})
    changes: list[_PropertyChange] = []
    for name in sorted({*wanted, *current.properties}):
        dynamic = bool(moving & set(references(wanted.get(name))))
        if dynamic or _resolved(planned, wanted.get(name)) != current.properties.get(name):
            changes.append(_PropertyChange(name, dynamic, _recreates(current, name)))
    return changes


def _resolved(planned: DeployedResources, value: Any) -> Any:
    try:
        # Inside an object: a lone AWS::NoValue must vanish, not become a value.
        return planned.resolve({"value": value}).get("value")
    except ServiceException:
        return None  # not to be had before the deployment, which will say why if it stays so


def _recreates(current: Deployed, name: str) -> bool:
    handler = find_handler(current.resource_type)
    changed = {**current.properties, name: object()}
    return handler is not None and name in handler.replaces(current.properties, changed)


def _replacement(properties: list[_PropertyChange], type_changed: bool) -> str:
    if type_changed or any(item.recreates and not item.dynamic for item in properties):
        return "True"
    return "Conditional" if any(item.recreates for item in properties) else "False"


def _change(action: str, logical_id: str, resource_type: str, physical_id: str | None = None) -> Any:
    change: Any = Change(action, logical_id, resource_type)
    if physical_id:
        change.physical_resource_id = physical_id
    return change
