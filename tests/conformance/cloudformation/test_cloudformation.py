"""CloudFormation: templates, parameters, the order of events, rollback, deletion."""

import json
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, allow, error_code
from tests.conformance.credentials import client_with
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
EXPORTS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/outputs-section-structure.html"
CONDITIONS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/conditions-section-structure.html"
IMPORTS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-exports.html"
STATUS_CODES = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-describing-stacks.html"
TROUBLE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html"
STACK_POLICY = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/protect-stack-resources.html"
SERVICE_ROLE = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html"
REPLACE_POLICY = (
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-updatereplacepolicy.html"
)
KMS_ALIAS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-kms-alias.html"


@pytest.fixture
def stack(workspace: Workspace) -> Stack:
    """A stack that does not exist yet."""
    return Stack(workspace)


def refused(stack: Stack, resources: dict[str, Any], **arguments: Any) -> tuple[str, str]:
    """Create the stack, which must be refused at once; return the error's code and message."""
    return error_code(lambda: stack.create(resources, **arguments))


@documented(EVENTS)
def test_events_are_in_reverse_order(stack: Stack) -> None:
    """DescribeStackEvents returns all stack related events for a specified stack in reverse chronological order."""
    stack.create({"A": parameter("a")})
    found = stack.client.describe_stack_events(StackName=stack.id)["StackEvents"]
    assert (found[0]["ResourceStatus"], found[-1]["ResourceStatus"]) == ("CREATE_COMPLETE", "CREATE_IN_PROGRESS")
    assert found[0]["LogicalResourceId"] == found[-1]["LogicalResourceId"] == stack.name


@documented(EVENTS)
def test_events_of_a_deleted_stack_are_listed_by_id(stack: Stack) -> None:
    """You can list events for stacks that have failed to create or have been deleted by specifying the unique stack
    identifier (stack ID)."""
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
    """With DependsOn, the creation of a specific resource follows another. If A depends on B: resource B is created
    before resource A. Resource A is deleted before resource B."""
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


@documented(DEPENDS_ON, unknown="AWS's reference does not say how a cycle is refused; the message is that of reports")
def test_circular_dependencies_are_refused(stack: Stack) -> None:
    """With DependsOn, the creation of a specific resource follows another."""
    code, message = refused(stack, {"A": parameter("a", DependsOn="B"), "B": parameter("b", DependsOn="A")})
    assert code == "ValidationError" and "Circular dependency between resources" in message


@documented(STATUS_CODES)
def test_a_failed_creation_is_rolled_back(stack: Stack) -> None:
    """ROLLBACK_COMPLETE: successful removal of one or more stacks after a failed stack creation. Any resources that
    were created during the create stack operation are deleted."""
    assert stack.create({"A": parameter("a"), "B": {**BROKEN, "DependsOn": "A"}}) == "ROLLBACK_COMPLETE"
    assert stack.steps() == ["CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE"]
    assert stack.steps("A")[-1] == "DELETE_COMPLETE"


@documented(STATUS_CODES)
def test_a_rolled_back_stack_cannot_be_updated(stack: Stack) -> None:
    """ROLLBACK_COMPLETE: when in this state, only a delete operation can be performed."""
    stack.create({"B": BROKEN})
    code, message = error_code(lambda: stack.update({"A": parameter("a")}))
    assert code == "ValidationError" and "ROLLBACK_COMPLETE" in message


@documented(CREATE, differs="OnFailure other than ROLLBACK is refused")
def test_on_failure_delete_deletes_the_stack(stack: Stack) -> None:
    """OnFailure: determines what action will be taken if stack creation fails. This must be one of: DO_NOTHING,
    ROLLBACK, or DELETE."""
    assert stack.create({"B": BROKEN}, OnFailure="DELETE") == "DELETE_COMPLETE"


@documented(CREATE, differs="DisableRollback is refused: the embedded CloudFormation always rolls back")
def test_disable_rollback_keeps_what_was_created(stack: Stack) -> None:
    """DisableRollback: set to true to disable rollback of the stack if stack creation failed."""
    assert (
        stack.create({"A": parameter("a"), "B": {**BROKEN, "DependsOn": "A"}}, DisableRollback=True) == "CREATE_FAILED"
    )
    assert stack.steps("A") == ["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"][-len(stack.steps("A")) :]
    assert "DELETE_IN_PROGRESS" not in stack.steps("A")


@documented(TROUBLE)
def test_an_update_without_changes_is_refused(stack: Stack) -> None:
    """No updates to perform: to update a CloudFormation stack, you must submit template or parameter value changes to
    CloudFormation."""
    stack.create({"A": parameter("a")})
    assert error_code(lambda: stack.update({"A": parameter("a")}))[0] == "ValidationError"


@documented(STATUS_CODES)
def test_a_failed_update_is_rolled_back(stack: Stack) -> None:
    """UPDATE_ROLLBACK_COMPLETE: successful return of one or more stacks to a previous working state after a failed
    stack update."""
    stack.create({"A": parameter("a")})
    ended = stack.update({"A": parameter("new"), "B": {**BROKEN, "DependsOn": "A"}})
    assert ended == "UPDATE_ROLLBACK_COMPLETE"
    found = stack.workspace.client("ssm").get_parameter(Name=stack.physical_id("A"))
    assert found["Parameter"]["Value"] == "a"


@documented(POLICY)
def test_a_retained_resource_outlives_its_stack(stack: Stack, workspace: Workspace) -> None:
    """Retain: CloudFormation keeps the resource without deleting the resource or its contents when its stack is
    deleted. When CloudFormation completes the stack deletion, the stack will be in Delete_Complete state."""
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
    """RetainResources: for stacks in the DELETE_FAILED state, a list of resource logical IDs that are associated with
    the resources you want to retain."""
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
    """Each parameter must be assigned a value at runtime for CloudFormation to successfully provision the stack. You
    can optionally specify a default value."""
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


@documented(CREATE, unknown="AWS does not say what becomes of a parameter that the template lacks; here it is refused")
def test_an_undeclared_parameter_is_refused(stack: Stack) -> None:
    """Parameters: a list of Parameter structures that specify input parameters for the stack."""
    given = [{"ParameterKey": "P", "ParameterValue": "c"}]
    assert refused(stack, {"A": parameter("a")}, Parameters=given)[0] == "ValidationError"


@documented(PARAMETERS)
def test_no_echo_hides_a_parameter(stack: Stack) -> None:
    """If you set the NoEcho attribute to true, CloudFormation returns the parameter value masked as asterisks for any
    calls that describe the stack or stack events."""
    declared = {"Parameters": {"P": {"Type": "String", "NoEcho": True}}}
    given = [{"ParameterKey": "P", "ParameterValue": "secret"}]
    stack.create({"A": parameter("a")}, template=declared, Parameters=given)
    (shown,) = stack.describe()["Parameters"]
    assert shown["ParameterKey"] == "P" and set(shown["ParameterValue"]) == {"*"}


@documented(CONDITIONS)
def test_a_false_condition_leaves_the_resource_out(stack: Stack) -> None:
    """CloudFormation creates entities that are associated with a true condition and ignores entities that are
    associated with a false condition."""
    conditions = {"Conditions": {"Never": {"Fn::Equals": ["a", "b"]}}}
    stack.create({"A": parameter("a"), "B": parameter("b", Condition="Never")}, template=conditions)
    assert stack.steps("B") == []


@documented(
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-sub.html"
)
def test_sub_replaces_variables(stack: Stack) -> None:
    """Fn::Sub substitutes variables in an input string with values that you specify. CloudFormation resolves
    ${!Literal} as ${Literal}."""
    value = {"Fn::Sub": ["${AWS::StackName} ${Other} ${!Literal}", {"Other": {"Ref": "A"}}]}
    stack.create({"A": parameter("a")}, template={"Outputs": {"O": {"Value": value}}})
    assert stack.outputs()["O"] == f"{stack.name} {stack.physical_id('A')} ${{Literal}}"


@documented(IMPORTS)
def test_an_imported_export_cannot_be_deleted(stack: Stack, workspace: Workspace) -> None:
    """After another stack imports an output value, you can't delete the stack that is exporting the output value. All
    the imports must be removed before you can delete the exporting stack."""
    name = workspace.name("export")
    stack.create({"A": parameter("a")}, template={"Outputs": {"O": {"Value": "v", "Export": {"Name": name}}}})
    importer = Stack(workspace)
    importer.create(
        {"B": {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Fn::ImportValue": name}}}}
    )
    assert stack.delete() != "DELETE_COMPLETE"
    assert importer.delete() == stack.delete() == "DELETE_COMPLETE"


@documented(EXPORTS)
def test_export_names_are_unique(stack: Stack, workspace: Workspace) -> None:
    """For each AWS account, Export names must be unique within a Region."""
    template = {"Outputs": {"O": {"Value": "v", "Export": {"Name": workspace.name("export")}}}}
    stack.create({"A": parameter("a")}, template=template)
    assert Stack(workspace).create({"A": parameter("a")}, template=template) == "ROLLBACK_COMPLETE"


@documented(CREATE)
def test_tags_are_propagated(stack: Stack, workspace: Workspace) -> None:
    """Tags: key-value pairs to associate with this stack. CloudFormation also propagates these tags to the resources
    created in the stack."""
    own = {"Type": "AWS::SNS::Topic", "Properties": {"Tags": [{"Key": "Team", "Value": "own"}]}}
    stack.create({"Topic": TOPIC, "Own": own}, Tags=[*workspace.tags, {"Key": "Team", "Value": "music"}])

    def team(name: str) -> list[str]:
        tags = workspace.client("sns").list_tags_for_resource(ResourceArn=stack.physical_id(name))["Tags"]
        return [tag["Value"] for tag in tags if tag["Key"] == "Team"]

    assert (team("Topic"), team("Own")) == (["music"], ["own"])
    stack.update({"Topic": TOPIC, "Own": own}, Tags=[*workspace.tags, {"Key": "Team", "Value": "audio"}])
    assert team("Topic") == ["audio"]


@documented(
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-resource-tags.html",
    differs="the tags with the reserved prefix are left out; no policy of the stack reads them",
)
def test_resources_are_tagged_with_their_stack(stack: Stack, workspace: Workspace) -> None:
    """In addition to any tags you define, CloudFormation automatically creates the following stack-level tags with the
    prefix aws:: aws:cloudformation:logical-id, aws:cloudformation:stack-id and aws:cloudformation:stack-name."""
    stack.create({"Topic": TOPIC})
    tags = workspace.client("sns").list_tags_for_resource(ResourceArn=stack.physical_id("Topic"))["Tags"]
    assert {"Key": "aws:cloudformation:stack-name", "Value": stack.name} in tags


@documented(REPLACE_POLICY)
def test_a_replaced_resource_may_be_retained(stack: Stack, workspace: Workspace) -> None:
    """Using the UpdateReplacePolicy, you can specify that CloudFormation retain the old resource. UpdateReplacePolicy
    retains the old physical resource, but removes it from CloudFormation's scope."""

    def resource(name: str) -> dict[str, Any]:
        properties = {"Name": f"{stack.name}-{name}", "Type": "String", "Value": name}
        return {"Type": "AWS::SSM::Parameter", "Properties": properties, "UpdateReplacePolicy": "Retain"}

    stack.create({"A": resource("old")})
    old, ssm = stack.physical_id("A"), workspace.client("ssm")
    workspace.later(old, lambda: ssm.delete_parameter(Name=old))
    assert stack.update({"A": resource("new")}) == "UPDATE_COMPLETE"
    assert stack.physical_id("A") != old
    assert stack.delete() == "DELETE_COMPLETE"
    assert ssm.get_parameter(Name=old)["Parameter"]["Value"] == "old"


def stack_policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Statement": [{"Principal": "*", "Action": "Update:*", **item} for item in statements]})


@documented(STACK_POLICY)
def test_a_stack_policy_protects_resources(stack: Stack) -> None:
    """When you set a stack policy on your stack, any update not explicitly allowed is denied by default. A Deny
    statement always overrides an Allow statement."""
    text = stack_policy({"Effect": "Allow", "Resource": "*"}, {"Effect": "Deny", "Resource": "LogicalResourceId/A"})
    stack.create({"A": parameter("a"), "B": parameter("b")}, StackPolicyBody=text)
    assert stack.update({"A": parameter("a"), "B": parameter("new")}) == "UPDATE_COMPLETE"
    assert stack.update({"A": parameter("new"), "B": parameter("new")}) == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.steps("A")[-1] in ("UPDATE_FAILED", "UPDATE_COMPLETE")
    assert stack.update({"B": parameter("new")}) == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.workspace.client("ssm").get_parameter(Name=stack.physical_id("A"))["Parameter"]["Value"] == "a"


@documented(STACK_POLICY)
def test_a_stack_policy_may_be_changed(stack: Stack) -> None:
    """By default, when no stack policy is set, all update actions are allowed on all resources. A policy may name
    Update:Modify, Update:Replace and Update:Delete, and resource types in a condition."""
    stack.create({"A": parameter("a"), "B": parameter("b")})
    of_type = {"Condition": {"StringEquals": {"ResourceType": ["AWS::SSM::Parameter"]}}}
    text = stack_policy({"Effect": "Allow", "Action": ["Update:Modify"], "Resource": "*", **of_type})
    stack.client.set_stack_policy(StackName=stack.name, StackPolicyBody=text)
    assert json.loads(stack.client.get_stack_policy(StackName=stack.name)["StackPolicyBody"]) == json.loads(text)
    assert stack.update({"A": parameter("new"), "B": parameter("b")}) == "UPDATE_COMPLETE"
    assert stack.update({"A": parameter("new")}) == "UPDATE_ROLLBACK_COMPLETE"


@documented(SERVICE_ROLE)
def test_a_stack_has_the_rights_of_its_service_role(workspace: Workspace) -> None:
    """If you specify a service role, AWS CloudFormation uses that role's credentials. It always uses that role for all
    operations that are performed on that stack."""
    role = workspace.role("cloudformation", [allow("ssm:*", resource="*")])
    stack, other = Stack(workspace), Stack(workspace)  # after the role, without which they cannot be removed
    ended = stack.create({"A": parameter("a"), "Topic": {**TOPIC, "DependsOn": "A"}}, RoleARN=role)
    assert ended == "ROLLBACK_COMPLETE"
    assert "CREATE_FAILED" in stack.steps("Topic")
    assert other.create({"A": parameter("a")}, RoleARN=role) == "CREATE_COMPLETE"
    assert other.update({"A": parameter("a"), "Topic": TOPIC}) == "UPDATE_ROLLBACK_COMPLETE"


@documented(SERVICE_ROLE)
def test_without_a_service_role_a_stack_has_its_callers_rights(workspace: Workspace) -> None:
    """By default, AWS CloudFormation uses a temporary session that it generates from your user credentials for stack
    operations."""
    rights = [allow("cloudformation:*", "ssm:*", resource="*")]
    stack = Stack(workspace)
    administrator, stack.client = stack.client, client_with(workspace, "cloudformation", rights)
    assert stack.create({"A": parameter("a")}) == "CREATE_COMPLETE"
    assert stack.update({"A": parameter("a"), "Topic": TOPIC}) == "UPDATE_ROLLBACK_COMPLETE"
    stack.client = administrator
    assert stack.update({"A": parameter("a"), "Topic": TOPIC}) == "UPDATE_COMPLETE"


@documented(SERVICE_ROLE)
def test_a_service_role_must_trust_cloudformation(stack: Stack, workspace: Workspace) -> None:
    """Specify AWS CloudFormation (cloudformation.amazonaws.com) as the service that can assume the role."""
    role = workspace.role("lambda", [allow("ssm:*", resource="*")])
    assert refused(stack, {"A": parameter("a")}, RoleARN=role)[0] == "ValidationError"


@documented(KMS_ALIAS)
def test_a_key_may_have_an_alias(stack: Stack, workspace: Workspace) -> None:
    """AWS::KMS::Alias specifies a display name for a KMS key. You can use an alias to identify a KMS key in the
    DescribeKey operation. Changing AliasName is a replacement."""
    root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{workspace.target.account_id}:root"}}
    policy = {"Version": "2012-10-17", "Statement": [{**root, "Action": "kms:*", "Resource": "*"}]}
    key = {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": policy, "PendingWindowInDays": 7}}

    def resources(name: str) -> dict[str, Any]:
        properties = {"AliasName": name, "TargetKeyId": {"Ref": "Key"}}
        return {"Key": key, "Alias": {"Type": "AWS::KMS::Alias", "Properties": properties}}

    first, second = f"alias/{stack.name}", f"alias/{stack.name}-2"
    assert stack.create(resources(first)) == "CREATE_COMPLETE"
    kms = workspace.client("kms")
    assert kms.describe_key(KeyId=first)["KeyMetadata"]["KeyId"] == stack.physical_id("Key")
    assert stack.update(resources(second)) == "UPDATE_COMPLETE"
    assert (stack.physical_id("Alias"), stack.outputs()) == (second, {})
    assert error_code(lambda: kms.describe_key(KeyId=first))[0] == "NotFoundException"
