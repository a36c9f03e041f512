"""moto's stack and change set, resting on the engine's resource map."""

from __future__ import annotations

import json
from typing import Any

import yaml
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import Change, ChangeSet, Stack
from moto.cloudformation.parsing import ResourceMap
from moto.cloudformation.utils import yaml_tag_constructor

from local_aws.emulator.cloudformation.deployed import DeployedResources
from local_aws.emulator.cloudformation.differences import describe_changes
from local_aws.emulator.cloudformation.template import dependency_order, require_known_types


class LocalStack(Stack):
    """A stack whose resources the engine creates, not the reader."""

    stack_status_reason: str | None = None

    def _create_resource_map(self) -> ResourceMap:
        resources = DeployedResources(
            self.stack_id,
            self.name,
            self.parameters,
            self.tags,
            account_id=self.account_id,
            region_name=self.region_name,
            template=self.template_dict,
            cross_stack_resources=self.cross_stack_resources,
        )
        resources.load()
        return resources

    @property
    def stack_parameters(self) -> dict[str, Any]:
        """The parameters as they were given: moto would take an SSM parameter's value for its name the next time."""
        declared: dict[str, Any] = self.template_dict.get("Parameters", {})
        defaults = {name: str(slot["Default"]) for name, slot in declared.items() if "Default" in slot}
        return defaults | self.parameters

    def check(self, template: dict[str, Any], parameters: dict[str, Any]) -> None:
        """Raise a ValidationError for a template that cannot be deployed: no resources, unknown types, a circle."""
        if not template.get("Resources"):
            raise ValidationError(message="Template format error: At least one Resources member must be defined.")
        dependency_order(template)
        resources = self._create_resource_map()
        assert isinstance(resources, DeployedResources)
        resources.use(template, parameters)
        require_known_types(template, resources.is_wanted)


class LocalChangeSet(ChangeSet):
    """A change set that says which properties change and whether that replaces the resource."""

    def _parse_template(self) -> None:
        self.template_dict = parse_template(self.template)

    def diff(self) -> list[Change]:
        resources = self.stack.resource_map
        assert isinstance(resources, DeployedResources)
        return describe_changes(resources, self.template_dict, self.parameters)


def parse_template(text: str) -> dict[str, Any]:
    """A template's JSON or YAML (with the short forms of the intrinsic functions) as a dictionary."""
    if text.lstrip().startswith("{"):
        return json.loads(text)
    yaml.add_multi_constructor("", yaml_tag_constructor, Loader=yaml.SafeLoader)
    return yaml.safe_load(text)
