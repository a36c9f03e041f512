"""CloudFormation's change sets."""

import json
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code
from tests.conformance.stacks import Stack, named, parameter

CREATE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html"
CHANGE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChange.html"
EXECUTE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ExecuteChangeSet.html"
DESCRIBE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeChangeSet.html"


@pytest.fixture
def stack(workspace: Workspace) -> Stack:
    """A stack that does not exist yet."""
    return Stack(workspace)


def change_set(stack: Stack, resources: dict[str, Any], name: str = "planned", kind: str = "UPDATE") -> dict[str, Any]:
    """Create a change set; return its description once it is complete."""
    body = json.dumps({"Resources": named(stack.name, resources)})
    arguments = {"StackName": stack.name, "ChangeSetName": name}
    tags = stack.workspace.tags
    stack.client.create_change_set(**arguments, ChangeSetType=kind, TemplateBody=body, Tags=tags)

    def described() -> dict[str, Any] | None:
        found = stack.client.describe_change_set(**arguments)
        return None if found["Status"] in ("CREATE_PENDING", "CREATE_IN_PROGRESS") else found

    return stack.workspace.wait(described, "the change set is complete")


@documented(CREATE)
def test_a_first_change_set_makes_a_stack_in_review(stack: Stack) -> None:
    """If you create a change set for a new stack, CloudFormation creates a stack with a unique stack ID, but no
    template or resources. The stack will be in the REVIEW_IN_PROGRESS state until you execute the change set."""
    described = change_set(stack, {"A": parameter("a")}, kind="CREATE")
    assert stack.describe()["StackStatus"] == "REVIEW_IN_PROGRESS"
    assert described["Changes"][0]["ResourceChange"]["Action"] == "Add"


@documented(EXECUTE)
def test_executing_it_makes_the_changes(stack: Stack) -> None:
    """ExecuteChangeSet updates a stack using the input information that was provided when the specified change set was
    created. After the call successfully completes, CloudFormation starts updating the stack."""
    described = change_set(stack, {"A": parameter("a")}, kind="CREATE")
    stack.id = described["StackId"]
    stack.client.execute_change_set(ChangeSetName="planned", StackName=stack.name)
    assert stack.workspace.wait(lambda: stack.steps("A"), "A is created") and stack.wait() == "CREATE_COMPLETE"


@documented(
    DESCRIBE, unknown="AWS does not document a change set without changes; here it fails, as the CDK CLI expects"
)
def test_a_change_set_without_changes_has_failed(stack: Stack) -> None:
    """Status: such as CREATE_PENDING, CREATE_COMPLETE, or FAILED. StatusReason: if your attempt to create a change set
    failed, CloudFormation shows the error message."""
    stack.create({"A": parameter("a")})
    described = change_set(stack, {"A": parameter("a")})
    assert (described["Status"], described["ExecutionStatus"]) == ("FAILED", "UNAVAILABLE")
    assert "didn't contain changes" in described["StatusReason"]


@documented(CHANGE)
def test_replacement_says_whether_the_resource_is_replaced(stack: Stack) -> None:
    """Replacement: for the Modify action, indicates whether CloudFormation will replace the resource by creating a new
    one and deleting the old one."""
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": stack.name}}
    stack.create({"A": parameter("a"), "T": topic})
    renamed = {**topic, "Properties": {"TopicName": f"{stack.name}-2"}}
    described = change_set(stack, {"A": parameter("b"), "T": renamed})
    changes = [item["ResourceChange"] for item in described["Changes"]]
    assert {item["LogicalResourceId"]: item["Replacement"] for item in changes} == {"A": "False", "T": "True"}


@documented(CREATE)
def test_a_stack_that_does_not_exist_has_no_update(stack: Stack) -> None:
    """You can't use the UPDATE type to create a change set for a new stack."""
    assert error_code(lambda: change_set(stack, {"A": parameter("a")}))[0] == "ValidationError"


@documented(CREATE)
def test_an_existing_stack_cannot_be_created(stack: Stack) -> None:
    """You can't use the CREATE type to create a change set for an existing stack."""
    stack.create({"A": parameter("a")})
    code, _ = error_code(lambda: change_set(stack, {"A": parameter("b")}, kind="CREATE"))
    assert code in ("ValidationError", "AlreadyExistsException")


@documented(DESCRIBE)
def test_an_unknown_change_set_is_not_found(stack: Stack) -> None:
    """ChangeSetNotFound: the specified change set name or ID doesn't exit."""
    stack.create({"A": parameter("a")})
    call = stack.client.describe_change_set
    assert error_code(lambda: call(StackName=stack.name, ChangeSetName="none"))[0].startswith("ChangeSetNotFound")


@documented(EXECUTE)
def test_executing_one_deletes_the_others(stack: Stack) -> None:
    """When you execute a change set, CloudFormation deletes all other change sets associated with the stack because
    they aren't valid for the updated stack."""
    stack.create({"A": parameter("a")})
    change_set(stack, {"A": parameter("b")}, "first")
    change_set(stack, {"A": parameter("c")}, "second")
    stack.client.execute_change_set(ChangeSetName="first", StackName=stack.name)
    stack.workspace.wait(lambda: "UPDATE_COMPLETE" in stack.steps(), "the update ends")
    call = stack.client.describe_change_set
    assert error_code(lambda: call(StackName=stack.name, ChangeSetName="second"))[0].startswith("ChangeSetNotFound")


@documented(CREATE)
def test_a_change_sets_name_is_unique_in_its_stack(stack: Stack) -> None:
    """The name must be unique among all change sets that are associated with the specified stack."""
    stack.create({"A": parameter("a")})
    change_set(stack, {"A": parameter("b")})
    code, _ = error_code(lambda: change_set(stack, {"A": parameter("c")}))
    assert code == "AlreadyExistsException"
