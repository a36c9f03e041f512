"""Change sets, which the CDK CLI shows and bases decisions on."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

GROUP = {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": 1}}


def change_set(stack: Any, resources: dict[str, Any], name: str = "planned") -> dict[str, Any]:
    client = stack.aws.client("cloudformation")
    kind = "UPDATE" if stack.id else "CREATE"
    body = json.dumps({"Resources": resources})
    made = client.create_change_set(StackName=stack.name, ChangeSetName=name, ChangeSetType=kind, TemplateBody=body)
    stack.id = made["StackId"]
    return client.describe_change_set(StackName=stack.name, ChangeSetName=name)


def changes(described: dict[str, Any]) -> dict[str, tuple[str, str]]:
    found = [item["ResourceChange"] for item in described["Changes"]]
    return {item["LogicalResourceId"]: (item["Action"], item.get("Replacement", "")) for item in found}


def test_executing_a_change_set_creates_the_stack(stack: Any) -> None:
    described = change_set(stack, {"Group": GROUP})
    assert changes(described) == {"Group": ("Add", "")}
    assert stack.describe()["StackStatus"] == "REVIEW_IN_PROGRESS"
    stack.aws.client("cloudformation").execute_change_set(StackName=stack.name, ChangeSetName="planned")
    assert stack.wait() == "CREATE_COMPLETE"


def test_change_set_distinguishes_add_modify_replace_and_remove(stack: Any) -> None:
    named = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": f"/{stack.name}/a"}}
    renamed = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": f"/{stack.name}/b"}}
    reader = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Ref": "Renamed"}}}
    stack.deploy({"Changed": GROUP, "Renamed": named, "Removed": GROUP, "Reader": reader, "Same": GROUP})
    longer = {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": 7}}
    described = change_set(
        stack, {"Changed": longer, "Renamed": renamed, "Reader": reader, "Same": GROUP, "Added": GROUP}
    )
    assert changes(described) == {
        "Added": ("Add", ""),
        "Changed": ("Modify", "False"),
        "Reader": ("Modify", "False"),
        "Removed": ("Remove", ""),
        "Renamed": ("Modify", "True"),
    }
    details = {
        item["ResourceChange"]["LogicalResourceId"]: item["ResourceChange"].get("Details", [])
        for item in described["Changes"]
    }
    assert details["Renamed"][0]["Target"] == {
        "Attribute": "Properties",
        "Name": "LogGroupName",
        "RequiresRecreation": "Always",
    }
    assert details["Reader"][0]["Evaluation"] == "Dynamic"


def test_change_set_without_changes_fails_with_the_message_that_the_cli_expects(stack: Any) -> None:
    stack.deploy({"Group": GROUP})
    described = change_set(stack, {"Group": GROUP})
    assert (described["Status"], described["ExecutionStatus"]) == ("FAILED", "UNAVAILABLE")
    assert "didn't contain changes" in described["StatusReason"]


def test_unknown_change_set_is_not_found(stack: Any) -> None:
    stack.deploy({"Group": GROUP})
    client = stack.aws.client("cloudformation")
    with pytest.raises(ClientError, match="ChangeSetNotFound"):
        client.describe_change_set(StackName=stack.name, ChangeSetName="none")
    client.delete_change_set(StackName=stack.name, ChangeSetName="none")


def test_ssm_parameter_with_its_previous_value_is_resolved_again(stack: Any) -> None:
    ssm, client = stack.aws.client("ssm"), stack.aws.client("cloudformation")
    ssm.put_parameter(Name=f"/{stack.name}/days", Value="1", Type="String")
    template = {
        "Parameters": {"Days": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": f"/{stack.name}/days"}},
        "Resources": {"Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": {"Ref": "Days"}}}},
    }
    stack.id = client.create_stack(StackName=stack.name, TemplateBody=json.dumps(template))["StackId"]
    assert stack.wait() == "CREATE_COMPLETE"
    ssm.put_parameter(Name=f"/{stack.name}/days", Value="7", Type="String", Overwrite=True)
    client.create_change_set(
        StackName=stack.name,
        ChangeSetName="again",
        ChangeSetType="UPDATE",
        TemplateBody=json.dumps(template | {"Description": "again"}),
        Parameters=[{"ParameterKey": "Days", "UsePreviousValue": True}],
    )
    client.execute_change_set(StackName=stack.name, ChangeSetName="again")
    assert stack.wait() == "UPDATE_COMPLETE"
    groups = stack.aws.client("logs").describe_log_groups(logGroupNamePrefix=stack.physical_id("Group"))["logGroups"]
    assert groups[0]["retentionInDays"] == 7
    ssm.delete_parameter(Name=f"/{stack.name}/days")


def test_disabling_rollback_is_refused(stack: Any) -> None:
    change_set(stack, {"Group": GROUP})
    client = stack.aws.client("cloudformation")
    with pytest.raises(ClientError, match="DisableRollback must be false"):
        client.execute_change_set(StackName=stack.name, ChangeSetName="planned", DisableRollback=True)
    client.execute_change_set(StackName=stack.name, ChangeSetName="planned", DisableRollback=False)
    assert stack.wait() == "CREATE_COMPLETE"
