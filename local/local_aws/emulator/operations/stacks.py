"""CloudFormation: the listings of stacks, resources and change sets, from the events that the deployment recorded."""

from typing import Any, cast

from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult


def install() -> None:
    """Replace listings in which moto leaves out names and states, or makes up states and times."""
    responses = cast(Any, CloudFormationResponse)
    responses.list_stacks = _list_stacks
    responses.list_stack_resources = _list_stack_resources
    responses.describe_stack_resources = _describe_stack_resources
    responses.list_change_sets = _list_change_sets


def _list_stacks(self: Any) -> ActionResult:
    """ListStacks: the newest stack first, deleted ones included."""
    stacks = self.cloudformation_backend.list_stacks(self._get_param("StackStatusFilter", []))
    newest_first = sorted(stacks, key=lambda stack: stack.creation_time, reverse=True)
    return ActionResult({"StackSummaries": [_summary(stack) for stack in newest_first]})


def _summary(stack: Any) -> dict[str, Any]:
    summary = {
        "StackId": stack.stack_id,
        "StackName": stack.name,
        "TemplateDescription": stack.template_dict.get("Description"),
        "CreationTime": stack.creation_time,
        "LastUpdatedTime": stack.last_updated_time,
        "DeletionTime": stack.deletion_time,
        "StackStatus": stack.status,
        "StackStatusReason": stack.stack_status_reason,
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
    }
    return {name: value for name, value in summary.items() if value is not None}


def _list_stack_resources(self: Any) -> ActionResult:
    """ListStackResources: each resource's last state."""
    stack, _ = self.cloudformation_backend.list_stack_resources(self._get_param("StackName"))
    return ActionResult({"StackResourceSummaries": _resources(stack, "LastUpdatedTimestamp")})


def _describe_stack_resources(self: Any) -> ActionResult:
    """DescribeStackResources: each resource's last state, or that of one resource."""
    wanted = self._get_param("LogicalResourceId")
    stack, _ = self.cloudformation_backend.describe_stack_resources(self._get_param("StackName"), wanted)
    found = [item for item in _resources(stack, "Timestamp") if wanted in (None, item["LogicalResourceId"])]
    of_stack = {"StackName": stack.name, "StackId": stack.stack_id}
    return ActionResult({"StackResources": [of_stack | item for item in found]})


def _resources(stack: Any, time_field: str) -> list[dict[str, Any]]:
    """Return the state of each resource from its last event, sorted by logical id.

    A replacement's clean-up comes last but concerns the old resource, and an update's removed resources are gone.
    """
    last: dict[str, Any] = {}
    for event in list(stack.events):
        deployed = stack.resources.deployed.get(event.logical_resource_id)
        if deployed is None or event.physical_resource_id in ("", deployed.physical_id):
            last[event.logical_resource_id] = event
    last.pop(stack.name, None)
    removed = "DELETE_COMPLETE" if stack.status.startswith("UPDATE") else ""
    return [
        {
            "LogicalResourceId": name,
            "PhysicalResourceId": event.physical_resource_id,
            "ResourceType": event.resource_type,
            time_field: event.timestamp,
            "ResourceStatus": event.resource_status,
            "DriftInformation": {"StackResourceDriftStatus": "NOT_CHECKED"},
        }
        | ({"ResourceStatusReason": event.resource_status_reason} if event.resource_status_reason else {})
        for name, event in sorted(last.items())
        if event.resource_status != removed
    ]


def _list_change_sets(self: Any) -> ActionResult:
    """ListChangeSets: those of the named stack."""
    backend, name = self.cloudformation_backend, self._get_param("StackName")
    stack = backend.get_stack(name)  # refuses an unknown name with CloudFormation's message
    return ActionResult({"Summaries": [item for item in backend.list_change_sets() if item.stack_id == stack.stack_id]})
