"""CloudFormation: templates, parameters, the order of events, rollback, deletion."""

import json
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code
from tests.conformance.stacks import BROKEN, TOPIC, Stack, parameter

CREATE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html"
DESCRIBE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html"
EVENTS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStackEvents.html"
DELETE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DeleteStack.html"
PROTECTION = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-protect-stacks.html"
PARAMETERS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html"
QUOTAS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html"
POLICY = "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html"
DEPENDS_ON = "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-dependson.html"
EXPORTS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-exports.html"
CONDITIONS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/conditions-section-structure.html"
TROUBLE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html"


@pytest.fixture
def stack(workspace: Workspace) -> Stack:
    """A stack that does not exist yet."""
    return Stack(workspace)


def refused(stack: Stack, resources: dict[str, Any], **arguments: Any) -> tuple[str, str]:
    """Create the stack, which must be refused at once; return the error's code and message."""
    return error_code(lambda: stack.create(resources, **arguments))


@documented(EVENTS)
def test_events_are_in_reverse_order(stack: Stack) -> None:
    """DescribeStackEvents returns all stack related events in reverse chronological order."""
    stack.create({"A": parameter("a")})
    found = stack.client.describe_stack_events(StackName=stack.id)["StackEvents"]
    assert (found[0]["ResourceStatus"], found[-1]["ResourceStatus"]) == ("CREATE_COMPLETE", "CREATE_IN_PROGRESS")
    assert found[0]["LogicalResourceId"] == found[-1]["LogicalResourceId"] == stack.name


@documented(EVENTS)
def test_events_of_a_deleted_stack_are_listed_by_id(stack: Stack) -> None:
    """You can list events for stacks that have failed to create or have been deleted by specifying the stack ID."""
    stack.create({"A": parameter("a")})
    assert stack.delete() == "DELETE_COMPLETE"
    assert stack.steps()[-2:] == ["DELETE_IN_PROGRESS", "DELETE_COMPLETE"]


@documented(DESCRIBE)
def test_a_deleted_stack_is_described_by_id_only(stack: Stack) -> None:
    """Deleted stacks: you must specify the unique stack ID. If the stack doesn't exist, a ValidationError is
    returned."""
    stack.create({"A": parameter("a")})
    stack.delete()
    assert stack.describe()["StackStatus"] == "DELETE_COMPLETE"
    assert error_code(lambda: stack.client.describe_stacks(StackName=stack.name))[0] == "ValidationError"


@documented(DEPENDS_ON)
def test_depends_on_decides_the_order(stack: Stack) -> None:
    """With DependsOn, the resource is created after the resource that it names, and deleted before it."""
    stack.create({"A": parameter("a", DependsOn="B"), "B": parameter("b")})
    stack.delete()
    order = [
        (name, status) for name, status, _ in stack.events() if status.endswith("_COMPLETE") and name != stack.name
    ]
    assert order == [
        ("B", "CREATE_COMPLETE"),
        ("A", "CREATE_COMPLETE"),
        ("A", "DELETE_COMPLETE"),
        ("B", "DELETE_COMPLETE"),
    ]


@documented(TROUBLE)
def test_circular_dependencies_are_refused(stack: Stack) -> None:
    """Two resources that depend on each other are a circular dependency, and the template is not valid."""
    code, message = refused(stack, {"A": parameter("a", DependsOn="B"), "B": parameter("b", DependsOn="A")})
    assert code == "ValidationError" and "Circular dependency between resources" in message


@documented(CREATE)
def test_a_failed_creation_is_rolled_back(stack: Stack) -> None:
    """OnFailure: the default is ROLLBACK; the stack ends in ROLLBACK_COMPLETE, and its resources are deleted."""
    assert stack.create({"A": parameter("a"), "B": {**BROKEN, "DependsOn": "A"}}) == "ROLLBACK_COMPLETE"
    assert stack.steps() == ["CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE"]
    assert stack.steps("A")[-1] == "DELETE_COMPLETE"


@documented(TROUBLE)
def test_a_rolled_back_stack_cannot_be_updated(stack: Stack) -> None:
    """A stack in the ROLLBACK_COMPLETE state can only be deleted."""
    stack.create({"B": BROKEN})
    code, message = error_code(lambda: stack.update({"A": parameter("a")}))
    assert code == "ValidationError" and "ROLLBACK_COMPLETE" in message


@documented(CREATE, differs="OnFailure other than ROLLBACK is refused")
def test_on_failure_delete_deletes_the_stack(stack: Stack) -> None:
    """OnFailure: DELETE deletes the stack if its creation fails."""
    assert stack.create({"B": BROKEN}, OnFailure="DELETE") == "DELETE_COMPLETE"


@documented(CREATE, differs="DisableRollback is refused: the embedded CloudFormation always rolls back")
def test_disable_rollback_keeps_what_was_created(stack: Stack) -> None:
    """DisableRollback: set to true to disable rollback of the stack if stack creation failed."""
    assert (
        stack.create({"A": parameter("a"), "B": {**BROKEN, "DependsOn": "A"}}, DisableRollback=True) == "CREATE_FAILED"
    )
    assert stack.steps("A") == ["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"][-len(stack.steps("A")) :]
    assert "DELETE_IN_PROGRESS" not in stack.steps("A")


@documented("https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_UpdateStack.html")
def test_an_update_without_changes_is_refused(stack: Stack) -> None:
    """An update that changes nothing is a ValidationError: No updates are to be performed."""
    stack.create({"A": parameter("a")})
    assert error_code(lambda: stack.update({"A": parameter("a")})) == (
        "ValidationError",
        "No updates are to be performed.",
    )


@documented(
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-update-behaviors.html"
)
def test_a_failed_update_is_rolled_back(stack: Stack) -> None:
    """If an update fails, CloudFormation rolls the stack back to its last known working state."""
    stack.create({"A": parameter("a")})
    ended = stack.update({"A": parameter("new"), "B": {**BROKEN, "DependsOn": "A"}})
    assert ended == "UPDATE_ROLLBACK_COMPLETE"
    found = stack.workspace.client("ssm").get_parameter(Name=stack.physical_id("A"))
    assert found["Parameter"]["Value"] == "a"


@documented(POLICY)
def test_a_retained_resource_outlives_its_stack(stack: Stack, workspace: Workspace) -> None:
    """DeletionPolicy Retain: CloudFormation keeps the resource when its stack is deleted; its event is
    DELETE_SKIPPED."""
    stack.create({"A": parameter("kept", DeletionPolicy="Retain")})
    name, ssm = stack.physical_id("A"), workspace.client("ssm")
    workspace.later(name, lambda: ssm.delete_parameter(Name=name))
    assert stack.delete() == "DELETE_COMPLETE"
    assert stack.steps("A")[-1] == "DELETE_SKIPPED"
    assert ssm.get_parameter(Name=name)["Parameter"]["Value"] == "kept"


@documented(DELETE)
def test_a_resource_that_cannot_be_deleted_may_be_retained(stack: Stack, workspace: Workspace) -> None:
    """RetainResources: for stacks in the DELETE_FAILED state, a list of resources to retain, such as a non-empty S3
    bucket; during deletion, CloudFormation deletes the stack but doesn't delete the retained resources."""
    stack.create({"Bucket": {"Type": "AWS::S3::Bucket"}})
    bucket, s3 = stack.physical_id("Bucket"), workspace.client("s3")
    workspace.later(bucket, lambda: s3.delete_bucket(Bucket=bucket))
    workspace.later(bucket, lambda: s3.delete_object(Bucket=bucket, Key="k"))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert stack.delete() == "DELETE_FAILED"
    assert stack.delete(RetainResources=["Bucket"]) == "DELETE_COMPLETE"
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 1


@documented(DELETE)
def test_only_a_failed_deletion_may_retain_resources(stack: Stack) -> None:
    """RetainResources is for stacks in the DELETE_FAILED state."""
    stack.create({"A": parameter("a")})
    assert error_code(lambda: stack.delete(RetainResources=["A"]))[0] == "ValidationError"


@documented(PROTECTION)
def test_a_protected_stack_cannot_be_deleted(stack: Stack) -> None:
    """If you attempt to delete a stack with termination protection enabled, the deletion fails and the stack, including
    its status, remains unchanged."""
    stack.create({"A": parameter("a")}, EnableTerminationProtection=True)
    assert error_code(lambda: stack.delete())[0] == "ValidationError"
    assert stack.describe()["StackStatus"] == "CREATE_COMPLETE"
    stack.client.update_termination_protection(StackName=stack.name, EnableTerminationProtection=False)


@documented(CREATE)
def test_a_stacks_name_is_checked(workspace: Workspace) -> None:
    """A stack name can contain only alphanumeric characters and hyphens, and must start with an alphabetical
    character."""
    create = workspace.client("cloudformation").create_stack
    body = json.dumps({"Resources": {"A": TOPIC}})
    for name in ("1-begins-with-a-digit", "has_underscore", "a" * 129):
        code, _ = error_code(lambda name=name: create(StackName=name, TemplateBody=body))
        assert code == "ValidationError"


@documented(CREATE)
def test_a_stacks_name_is_unique(stack: Stack) -> None:
    """The name must be unique in the Region in which you are creating the stack."""
    stack.create({"A": parameter("a")})
    assert refused(stack, {"A": parameter("a")})[0] == "AlreadyExistsException"


@documented(CREATE)
def test_a_template_body_has_a_limit(stack: Stack) -> None:
    """TemplateBody has a minimum length of 1 byte and a maximum length of 51,200 bytes."""
    assert refused(stack, {"A": TOPIC}, template={"Metadata": {"Long": "x" * 51_200}})[0] == "ValidationError"


@documented(QUOTAS)
def test_a_template_has_500_resources_at_most(stack: Stack) -> None:
    """Resources: the maximum number of resources that you can declare in your template is 500."""
    assert refused(stack, {f"A{number}": TOPIC for number in range(501)})[0] == "ValidationError"


@documented(CREATE)
def test_named_roles_need_a_capability(stack: Stack) -> None:
    """If you have IAM resources with custom names, you must specify CAPABILITY_NAMED_IAM; otherwise CloudFormation
    returns an InsufficientCapabilities error."""
    statement = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    properties = {"AssumeRolePolicyDocument": trust, "RoleName": stack.name}
    role = {"Role": {"Type": "AWS::IAM::Role", "Properties": properties}}
    assert refused(stack, role, Capabilities=["CAPABILITY_IAM"])[0] == "InsufficientCapabilitiesException"
    assert stack.create(role, Capabilities=["CAPABILITY_NAMED_IAM"]) == "CREATE_COMPLETE"


@documented(CREATE)
def test_roles_need_a_capability(stack: Stack) -> None:
    """If you don't specify CAPABILITY_IAM or CAPABILITY_NAMED_IAM, CloudFormation returns an InsufficientCapabilities
    error for a template with IAM resources."""
    role: dict[str, Any] = {"Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {}}}}
    assert refused(stack, role)[0] == "InsufficientCapabilitiesException"


@documented(PARAMETERS)
def test_a_parameter_without_a_default_must_be_given(stack: Stack) -> None:
    """Each parameter must be assigned a value at runtime, or have a default value."""
    declared = {"Parameters": {"P": {"Type": "String"}}}
    assert refused(stack, {"A": parameter("a")}, template=declared)[0] == "ValidationError"


@documented(PARAMETERS)
def test_a_parameter_must_have_an_allowed_value(stack: Stack) -> None:
    """AllowedValues: an array containing the list of values allowed for the parameter."""
    declared = {"Parameters": {"P": {"Type": "String", "AllowedValues": ["a", "b"]}}}
    given = [{"ParameterKey": "P", "ParameterValue": "c"}]
    assert refused(stack, {"A": parameter("a")}, template=declared, Parameters=given)[0] == "ValidationError"


@documented(PARAMETERS)
def test_a_parameter_must_match_its_pattern(stack: Stack) -> None:
    """AllowedPattern: a regular expression that represents the patterns to allow for String types; it must match the
    entire value."""
    declared = {"Parameters": {"P": {"Type": "String", "AllowedPattern": "[a-z]+"}}}
    given = [{"ParameterKey": "P", "ParameterValue": "abc1"}]
    assert refused(stack, {"A": parameter("a")}, template=declared, Parameters=given)[0] == "ValidationError"


@documented(PARAMETERS)
def test_an_undeclared_parameter_is_refused(stack: Stack) -> None:
    """Parameters that are given must exist in the template."""
    given = [{"ParameterKey": "P", "ParameterValue": "c"}]
    assert refused(stack, {"A": parameter("a")}, Parameters=given)[0] == "ValidationError"


@documented(PARAMETERS)
def test_no_echo_hides_a_parameter(stack: Stack) -> None:
    """NoEcho: CloudFormation returns the parameter value masked as asterisks for calls that describe the stack."""
    declared = {"Parameters": {"P": {"Type": "String", "NoEcho": True}}}
    given = [{"ParameterKey": "P", "ParameterValue": "secret"}]
    stack.create({"A": parameter("a")}, template=declared, Parameters=given)
    assert stack.describe()["Parameters"] == [{"ParameterKey": "P", "ParameterValue": "****"}]


@documented(CONDITIONS)
def test_a_false_condition_leaves_the_resource_out(stack: Stack) -> None:
    """CloudFormation creates entities that are associated with a true condition and ignores those with a false one."""
    conditions = {"Conditions": {"Never": {"Fn::Equals": ["a", "b"]}}}
    stack.create({"A": parameter("a"), "B": parameter("b", Condition="Never")}, template=conditions)
    assert stack.steps("B") == []


@documented(
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-sub.html"
)
def test_sub_replaces_variables(stack: Stack) -> None:
    """Fn::Sub substitutes variables in an input string with values; ${!Literal} resolves to ${Literal}."""
    value = {"Fn::Sub": ["${AWS::StackName} ${Other} ${!Literal}", {"Other": {"Ref": "A"}}]}
    stack.create({"A": parameter("a")}, template={"Outputs": {"O": {"Value": value}}})
    assert stack.outputs()["O"] == f"{stack.name} {stack.physical_id('A')} ${{Literal}}"


@documented(EXPORTS)
def test_an_imported_export_cannot_be_deleted(stack: Stack, workspace: Workspace) -> None:
    """After another stack imports an output value, you can't delete the stack that is exporting the output value."""
    name = workspace.name("export")
    stack.create({"A": parameter("a")}, template={"Outputs": {"O": {"Value": "v", "Export": {"Name": name}}}})
    importer = Stack(workspace)
    importer.create(
        {"B": {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Fn::ImportValue": name}}}}
    )
    assert stack.delete() == "DELETE_FAILED" or stack.describe()["StackStatus"] == "CREATE_COMPLETE"
    assert importer.delete() == stack.delete() == "DELETE_COMPLETE"


@documented(EXPORTS)
def test_export_names_are_unique(stack: Stack, workspace: Workspace) -> None:
    """Export names must be unique within a Region."""
    template = {"Outputs": {"O": {"Value": "v", "Export": {"Name": workspace.name("export")}}}}
    stack.create({"A": parameter("a")}, template=template)
    assert Stack(workspace).create({"A": parameter("a")}, template=template) == "ROLLBACK_COMPLETE"


@documented(CREATE, differs="resources get the tags of their own properties only; no policy here depends on them")
def test_tags_are_propagated(stack: Stack, workspace: Workspace) -> None:
    """CloudFormation also propagates the stack's tags to the resources created in the stack."""
    stack.create({"Topic": TOPIC}, Tags=[*workspace.tags, {"Key": "Team", "Value": "music"}])
    tags = workspace.client("sns").list_tags_for_resource(ResourceArn=stack.physical_id("Topic"))["Tags"]
    assert {"Key": "Team", "Value": "music"} in tags
