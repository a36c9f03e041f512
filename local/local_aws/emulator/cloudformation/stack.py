"""A stack: its deployed resources, as moto's intrinsic functions read them, and the events that the CDK CLI shows."""

# pyright: reportArgumentType=false, reportUnknownVariableType=false
# (moto's BaseModel.__new__ hides the types of its instances; templates are JSON)

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import Event, Stack
from moto.cloudformation.parsing import ResourceMap, clean_json

from local_aws.emulator.cloudformation.template_order import Template, dependency_order, unsupported_types

_MAX_REASON = 2000


@dataclass(frozen=True)
class Deployed:
    """One deployed resource; `properties` are resolved, the policies are those of the template."""

    logical_id: str
    resource_type: str
    physical_id: str
    attributes: Mapping[str, Any]
    properties: Mapping[str, Any]
    deletion_policy: str = "Delete"
    update_replace_policy: str = "Delete"
    no_echo: bool = False  # of a custom resource whose attributes are secret

    # The names that moto reads from its own resources.
    logical_resource_id = property(attrgetter("logical_id"))
    physical_resource_id = property(attrgetter("physical_id"))
    cf_resource_type = property(attrgetter("resource_type"))

    def get_cfn_attribute(self, name: str) -> Any:
        """Return the value of `Fn::GetAtt`; raise ValidationError if the resource has no such attribute."""
        if name not in self.attributes:
            raise ValidationError(
                message=f"Template error: resource {self.logical_id} does not support attribute type {name} in "
                "Fn::GetAtt"
            )
        return self.attributes[name]


class DeployedResources(ResourceMap):
    """moto's resource map without lazy creation: a lookup returns what was deployed and never creates anything."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.deployed: dict[str, Deployed] = {}

    def load(self) -> None:
        """Load mappings, parameters and conditions; moto would also check outputs against its own resource models."""
        self.load_mapping()
        self.load_parameters()
        self.load_conditions()

    def use(self, template: dict[str, Any], parameters: dict[str, Any]) -> None:
        """Resolve against `template` and `parameters` from now on."""
        self._template = template
        self._resource_json_map = template.get("Resources", {})
        for name in self.resolved_parameters:
            self._parsed_resources.pop(name, None)
        self.resolved_parameters = {}
        self.input_parameters = parameters
        self.load()

    def resolve(self, value: Any) -> Any:
        """Return `value` with every intrinsic function evaluated and `AWS::NoValue` removed."""
        return _without_none(clean_json(value, self))

    def is_enabled(self, definition: Mapping[str, Any]) -> bool:
        """Return whether the resource's condition is true, or it has none."""
        condition = definition.get("Condition")
        return condition is None or bool(self.lazy_condition_map[condition])

    def __getitem__(self, key: str) -> Any:
        if key in self.deployed:
            return self.deployed[key]
        if key in self._parsed_resources:
            return self._parsed_resources[key]
        raise ValidationError(
            message=f"Template format error: Unresolved resource dependencies [{key}] in the Resources block of the "
            "template"
        )

    def get(self, key: str, default: Any = None) -> Any:
        """Return a deployed resource or a parameter, or `default`."""
        return self.deployed.get(key, self._parsed_resources.get(key, default))

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.deployed))

    def __len__(self) -> int:
        return len(self.deployed)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value if item is not None]
    return value


class LocalStack(Stack):
    """A stack whose resources are created by a deployment, not on first access as in moto."""

    stack_status_reason: str | None = None
    last_updated_time: datetime | None = None
    deletion_time: datetime | None = None
    credentials: dict[str, str] | None = None  # those of the current operation; None: the administrator's

    def _create_resource_map(self) -> DeployedResources:
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
    def resources(self) -> DeployedResources:
        """The stack's resource map, with its actual type."""
        resources = self.resource_map
        assert isinstance(resources, DeployedResources)
        return resources

    @property
    def stack_parameters(self) -> dict[str, Any]:
        """The parameters as given: on an update, moto would take an SSM parameter's value for its name."""
        declared: dict[str, Any] = self.template_dict.get("Parameters", {})
        defaults = {name: str(slot["Default"]) for name, slot in declared.items() if "Default" in slot}
        return defaults | self.parameters

    @property
    def parameter_list(self) -> list[dict[str, Any]]:
        """The parameters as DescribeStacks returns them: moto looks for the values of NoEcho, not for their names."""
        resources: Any = self.resources
        hidden = resources.no_echo_parameter_keys
        values: dict[str, Any] = resources.resolved_parameters
        return [{"ParameterKey": key, "ParameterValue": "****" if key in hidden else values[key]} for key in values]

    def imports(self) -> set[str]:
        """Return the names of the exports that the deployed template imports."""
        found: set[str] = set()

        def search(value: Any) -> None:
            if isinstance(value, list):
                for item in value:
                    search(item)
            elif isinstance(value, Mapping):
                if "Fn::ImportValue" in value:
                    found.add(str(self.resources.resolve({"name": value["Fn::ImportValue"]}).get("name")))
                for item in value.values():
                    search(item)

        search([self.template_dict.get("Resources", {}), self.template_dict.get("Outputs", {})])
        return found

    def validate_template(self, template: Template, parameters: dict[str, Any]) -> None:
        """Raise ValidationError for a template without resources, with a cycle or with unsupported types."""
        if not template.get("Resources"):
            raise ValidationError(message="Template format error: At least one Resources member must be defined.")
        dependency_order(template)
        resources = self._create_resource_map()
        resources.use(template, parameters)
        if unsupported := unsupported_types(template, resources.is_enabled):
            raise ValidationError(
                message=f"Template format error: Unrecognized resource types: [{', '.join(unsupported)}]"
            )

    def record_event(self, status: str, reason: str | None = None) -> None:
        """Record that the stack itself has reached `status`."""
        self._record(self.name, "AWS::CloudFormation::Stack", self.stack_id, status, reason)
        if status in ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"):
            self.last_updated_time = self.events[-1].timestamp
        elif status == "DELETE_IN_PROGRESS":
            self.deletion_time = self.events[-1].timestamp
        # Set the status last: a client that sees a final status must find all events before it.
        self.status = status
        self.stack_status_reason = reason  # DescribeStacks reads it

    def record_resource_event(
        self, resource: Deployed, status: str, reason: str | None = None, *, physical_id: str | None = None
    ) -> None:
        """Record that a resource has reached `status`; `physical_id` overrides the resource's own."""
        self._record(resource.logical_id, resource.resource_type, physical_id or resource.physical_id, status, reason)

    def _record(self, logical_id: str, resource_type: str, physical_id: str, status: str, reason: str | None) -> None:
        event = Event(
            stack_id=self.stack_id,
            stack_name=self.name,
            logical_resource_id=logical_id,
            physical_resource_id=physical_id,
            resource_type=resource_type,
            resource_status=status,
            resource_status_reason=reason[:_MAX_REASON] if reason else None,
            resource_properties=None,
        )
        self.events.append(event)
