"""Stacks for tests, deployed through CloudFormation's API."""

import json
from typing import Any

from conformance.workspace import Workspace

FINAL = ("_COMPLETE", "_FAILED")
TOPIC: dict[str, Any] = {"Type": "AWS::SNS::Topic"}


def parameter(value: str, **more: Any) -> dict[str, Any]:
    """Return a parameter of the parameter store, the quickest resource to create; `Stack` names it."""
    return {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": value}, **more}


# A resource whose creation the service refuses.
BROKEN: dict[str, Any] = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": ""}}


def named(stack: str, resources: dict[str, Any]) -> dict[str, Any]:
    """Return the resources with a name for each SSM parameter that has none: moto's own needs one."""
    found: dict[str, Any] = {}
    for logical_id, resource in resources.items():
        if resource["Type"] == "AWS::SSM::Parameter":
            resource = {**resource, "Properties": {"Name": f"{stack}-{logical_id}", **resource["Properties"]}}
        found[logical_id] = resource
    return found


class Stack:
    """A stack that is removed at the end; operations wait for its final status and return it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.client = workspace, workspace.client("cloudformation")
        self.name, self.id = workspace.name("stack"), ""
        workspace.later(f"stack {self.name}", lambda: self.client.delete_stack(StackName=self.name))

    def create(self, resources: dict[str, Any], *, template: dict[str, Any] | None = None, **arguments: Any) -> str:
        """Create the stack; `template` has the template's other sections."""
        body = json.dumps({"Resources": named(self.name, resources), **(template or {})})
        arguments.setdefault("Tags", self.workspace.tags)
        self.id = self.client.create_stack(StackName=self.name, TemplateBody=body, **arguments)["StackId"]
        return self.wait()

    def update(self, resources: dict[str, Any], *, template: dict[str, Any] | None = None, **arguments: Any) -> str:
        """Update the stack."""
        body = json.dumps({"Resources": named(self.name, resources), **(template or {})})
        self.client.update_stack(StackName=self.name, TemplateBody=body, **arguments)
        return self.wait()

    def delete(self, **arguments: Any) -> str:
        """Delete the stack."""
        self.client.delete_stack(StackName=self.id, **arguments)
        return self.wait()

    def wait(self) -> str:
        """Wait for a final status."""

        def final() -> str:
            status = self.describe()["StackStatus"]
            return status if status.endswith(FINAL) and "CLEANUP" not in status else ""

        return self.workspace.wait(final, f"{self.name} reaches a final status", 60)

    def describe(self) -> dict[str, Any]:
        """Return the stack's description."""
        return self.client.describe_stacks(StackName=self.id or self.name)["Stacks"][0]

    def outputs(self) -> dict[str, str]:
        """Return the outputs by key."""
        return {item["OutputKey"]: item["OutputValue"] for item in self.describe().get("Outputs", [])}

    def events(self) -> list[tuple[str, str, str]]:
        """Return logical id, status and reason of each event, in chronological order."""
        pages = self.client.get_paginator("describe_stack_events").paginate(StackName=self.id)
        found = [event for page in pages for event in page["StackEvents"]][::-1]
        return [(x["LogicalResourceId"], x["ResourceStatus"], x.get("ResourceStatusReason", "")) for x in found]

    def steps(self, logical_id: str = "") -> list[str]:
        """Return the statuses of a resource, by default of the stack itself, in chronological order."""
        return [status for name, status, _ in self.events() if name == (logical_id or self.name)]

    def physical_id(self, logical_id: str) -> str:
        """Return a resource's physical id."""
        found = self.client.describe_stack_resources(StackName=self.id)["StackResources"]
        return next(item["PhysicalResourceId"] for item in found if item["LogicalResourceId"] == logical_id)
