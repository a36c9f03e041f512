"""Change sets: predict property by property what a deployment would change, before it is executed."""

from copy import copy
from typing import Any

from moto.cloudformation.models import Change, ChangeSet
from moto.core.exceptions import ServiceException

from local_aws.emulator.cloudformation.stack import Deployed, DeployedResources, LocalStack
from local_aws.emulator.cloudformation.template_order import Template, dependency_order, parse_template, references
from local_aws.emulator.resources import find_handler

_NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."


class LocalChangeSet(ChangeSet):
    """A change set that lists the changed properties and whether they replace the resource."""

    def _parse_template(self) -> None:
        self.template_dict = parse_template(self.template)

    def diff(self) -> list[Change]:
        stack = self.stack
        assert isinstance(stack, LocalStack)
        return describe_changes(stack.resources, self.template_dict, self.parameters, self.tags or stack.tags)

    def set_status(self, *, has_changes: bool) -> None:
        """Make the change set available, or failed if there is nothing to change."""
        self.status = "CREATE_COMPLETE" if has_changes else "FAILED"
        self.execution_status = "AVAILABLE" if has_changes else "UNAVAILABLE"
        self.status_reason = None if has_changes else _NO_CHANGES


def describe_changes(
    current: DeployedResources, template: Template, parameters: dict[str, Any], tags: dict[str, str]
) -> list[Change]:
    """Return the changes from `current` to `template`, in the order in which a deployment would make them."""
    planned = copy(current)
    planned.deployed = dict(current.deployed)
    planned.resolved_parameters, planned.tags = {}, dict(current.tags)
    planned._parsed_resources = dict(current._parsed_resources)  # pyright: ignore[reportPrivateUsage] -- moto's own
    planned.use(template, parameters)
    enabled = {name: item for name, item in template["Resources"].items() if planned.is_enabled(item)}
    unsettled: set[str] = set()  # resources whose attributes are known only after the deployment
    found = (
        _describe(planned, logical_id, enabled[logical_id], unsettled, tags)
        for logical_id in dependency_order(template)
        if logical_id in enabled
    )
    changes = [change for change in found if change is not None]
    for logical_id, resource in current.deployed.items():
        if logical_id not in enabled:
            changes.append(_change("Remove", logical_id, resource.resource_type, resource.physical_id))
    return changes


def _describe(
    planned: DeployedResources,
    logical_id: str,
    definition: dict[str, Any],
    unsettled: set[str],
    tags: dict[str, str],
) -> Change | None:
    resource_type, current = str(definition["Type"]), planned.deployed.get(logical_id)
    if current is None:
        unsettled.add(logical_id)
        return _change("Add", logical_id, resource_type)
    details = _property_details(planned, current, definition.get("Properties", {}), unsettled, tags)
    type_changed = current.resource_type != resource_type
    if not details and not type_changed:
        return None
    recreations = {detail["Target"]["RequiresRecreation"] for detail in details}
    change = _change("Modify", logical_id, resource_type, current.physical_id)
    change.scope, change.details = ["Properties"], details
    if type_changed or "Always" in recreations:
        change.replacement = "True"
    else:
        change.replacement = "Conditional" if "Conditionally" in recreations else "False"
    # A custom resource may return new attributes on an update; all others keep theirs unless replaced.
    if change.replacement != "False" or resource_type.startswith("Custom::"):
        unsettled.add(logical_id)
    return change


def _property_details(
    planned: DeployedResources, current: Deployed, new: dict[str, Any], unsettled: set[str], tags: dict[str, str]
) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    handler = find_handler(current.resource_type)
    for name in sorted({*new, *current.properties} | ({"Tags"} if handler and handler.taggable else set())):
        dynamic = bool(unsettled & set(references(new.get(name))))  # its new value is known only once deployed
        resolved = _resolve(planned, new.get(name))
        if name == "Tags" and handler:
            resolved = handler.inherit_tags({"Tags": resolved}, tags)["Tags"]
        if dynamic or resolved != current.properties.get(name):
            changed = {**current.properties, name: object()}
            recreates = handler is not None and name in handler.replacement_properties(current.properties, changed)
            recreation = "Never" if not recreates else "Conditionally" if dynamic else "Always"
            details.append(
                {
                    "Target": {"Attribute": "Properties", "Name": name, "RequiresRecreation": recreation},
                    "Evaluation": "Dynamic" if dynamic else "Static",
                    "ChangeSource": "ResourceReference" if dynamic else "DirectModification",
                }
            )
    return details


def _resolve(planned: DeployedResources, value: Any) -> Any:
    try:
        # Wrapped in an object because a lone AWS::NoValue must vanish, not become a value.
        return planned.resolve({"value": value}).get("value")
    except ServiceException:
        return None  # unknown before the deployment, which will report the error if it persists


def _change(action: str, logical_id: str, resource_type: str, physical_id: str | None = None) -> Any:
    change: Any = Change(action, logical_id, resource_type)
    if physical_id:
        change.physical_resource_id = physical_id
    return change
