"""Fixtures: one embedded AWS for all tests, and stacks deployed through boto3."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from local_aws.emulator.process import LocalAws

_CAPABILITIES = ["CAPABILITY_NAMED_IAM"]
_FINAL = ("_COMPLETE", "_FAILED")


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """Start the embedded AWS."""
    with LocalAws(tmp_path_factory.mktemp("aws")) as running:
        yield running


class Stack:
    """A stack of the embedded AWS; operations wait for its final status."""

    def __init__(self, aws: LocalAws):
        self.aws = aws
        self.name = f"Test-{uuid.uuid4().hex[:8]}"
        self.id = ""
        self._client = aws.client("cloudformation")

    def deploy(self, resources: dict[str, Any], **template: Any) -> str:
        """Create or update the stack; return its final status."""
        body = json.dumps({"Resources": resources, **template})
        if self.id:
            self._client.update_stack(StackName=self.name, TemplateBody=body, Capabilities=_CAPABILITIES)
        else:
            created = self._client.create_stack(StackName=self.name, TemplateBody=body, Capabilities=_CAPABILITIES)
            self.id = created["StackId"]
        return self.wait()

    def delete(self) -> str:
        """Delete the stack; return its final status."""
        self._client.delete_stack(StackName=self.id)
        return self.wait()

    def wait(self) -> str:
        """Wait for a final status, at most one minute, and return it."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            status = self.describe()["StackStatus"]
            if status.endswith(_FINAL):
                return status
            time.sleep(0.05)
        raise AssertionError(
            f"{self.name} did not reach a final status within a minute: {self.describe()['StackStatus']}"
        )

    def describe(self) -> dict[str, Any]:
        """Return the answer of DescribeStacks."""
        return self._client.describe_stacks(StackName=self.id)["Stacks"][0]

    def outputs(self) -> dict[str, str]:
        """Return the outputs by key."""
        return {item["OutputKey"]: item["OutputValue"] for item in self.describe()["Outputs"]}

    def physical_id(self, logical_id: str) -> str:
        """Return a resource's physical id."""
        found = self._client.list_stack_resources(StackName=self.id)["StackResourceSummaries"]
        return next(item["PhysicalResourceId"] for item in found if item["LogicalResourceId"] == logical_id)

    def events(self, logical_id: str | None = None) -> list[str]:
        """Return statuses in order: those of one resource, or `<logical id> <status>` of all."""
        found = self._client.describe_stack_events(StackName=self.id)["StackEvents"][::-1]
        if logical_id is not None:
            return [event["ResourceStatus"] for event in found if event["LogicalResourceId"] == logical_id]
        return [f"{event['LogicalResourceId']} {event['ResourceStatus']}" for event in found]

    def reason(self, status: str) -> str:
        """Return the reason of the last event with this status."""
        found = self._client.describe_stack_events(StackName=self.id)["StackEvents"]
        return next(event["ResourceStatusReason"] for event in found if event["ResourceStatus"] == status)


@pytest.fixture
def stack(aws: LocalAws) -> Iterator[Stack]:
    """Return a stack that is not deployed yet; delete it afterwards."""
    made = Stack(aws)
    yield made
    if made.id and made.describe()["StackStatus"] != "DELETE_COMPLETE":
        made.delete()


_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


def function_resources(
    source: str, statements: list[dict[str, Any]] | None = None, **properties: Any
) -> dict[str, Any]:
    """Return the resources of a Python function `Function` with its role and log group."""
    logging = {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": {"Fn::GetAtt": ["Logs", "Arn"]},
    }
    policy = {"Version": "2012-10-17", "Statement": [logging, *(statements or [])]}
    role = {"AssumeRolePolicyDocument": _TRUST, "Policies": [{"PolicyName": "permissions", "PolicyDocument": policy}]}
    function = {
        "Code": {"ZipFile": source},
        "Handler": "index.handler",
        "Runtime": "python3.14",
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "LoggingConfig": {"LogGroup": {"Ref": "Logs"}},
        "Timeout": 10,
        **properties,
    }
    return {
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": 1}},
        "Role": {"Type": "AWS::IAM::Role", "Properties": role},
        "Function": {"Type": "AWS::Lambda::Function", "Properties": function},
    }


@pytest.fixture(name="function_resources")
def function_resources_fixture() -> Any:
    """Return `function_resources(source, statements, **properties)`."""
    return function_resources
