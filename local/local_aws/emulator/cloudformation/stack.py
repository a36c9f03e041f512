"""A stack on the engine's resource map, with the events that the CDK CLI shows while it deploys."""

# pyright: reportArgumentType=false
# (moto's BaseModel.__new__ hides the types of its instances)

from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import Event, Stack

from local_aws.emulator.cloudformation.resource_map import Deployed, DeployedResources
from local_aws.emulator.cloudformation.template import Template, dependency_order, unsupported_types

_MAX_REASON = 2000


class LocalStack(Stack):
    """A stack whose resources are created by a deployment, not on first access as in moto."""

    stack_status_reason: str | None = None

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
