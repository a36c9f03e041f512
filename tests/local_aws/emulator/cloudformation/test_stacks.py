"""Stacks through the public API: order, updates in place, replacement, rollback, deletion."""
# pyright: reportUnknownVariableType=false
# (templates are plain dictionaries)

from typing import Any

import pytest
from botocore.exceptions import ClientError

TOPIC = {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": "one"}}
# The endpoint configuration names a model that does not exist: SageMaker refuses it.
BROKEN = {
    "Type": "AWS::SageMaker::EndpointConfig",
    "Properties": {
        "ProductionVariants": [
            {"VariantName": "v", "ModelName": "none", "InstanceType": "ml.nothing", "InitialInstanceCount": 1}
        ]
    },
}


def topic(name: str) -> dict[str, Any]:
    return {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": name}}


def log_group(name: str, days: int = 1) -> dict[str, Any]:
    return {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": name, "RetentionInDays": days}}


def group_names(stack: Any) -> set[str]:
    groups = stack.aws.client("logs").describe_log_groups(logGroupNamePrefix=f"/{stack.name}")["logGroups"]
    return {group["logGroupName"] for group in groups}


def retention(stack: Any, name: str) -> int:
    groups = stack.aws.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return groups[0]["retentionInDays"]


def test_stack_is_created_in_order_with_an_event_per_step(stack: Any) -> None:
    policy = {"PolicyDocument": {"Version": "2012-10-17", "Statement": []}, "Topics": [{"Ref": "Topic"}]}
    resources = {"Policy": {"Type": "AWS::SNS::TopicPolicy", "Properties": policy}, "Topic": TOPIC}
    assert stack.deploy(resources, Outputs={"Arn": {"Value": {"Ref": "Topic"}}}) == "CREATE_COMPLETE"
    assert stack.outputs() == {"Arn": stack.physical_id("Topic")}
    assert stack.events() == [
        f"{stack.name} CREATE_IN_PROGRESS",
        "Topic CREATE_IN_PROGRESS",
        "Topic CREATE_COMPLETE",
        "Policy CREATE_IN_PROGRESS",
        "Policy CREATE_COMPLETE",
        f"{stack.name} CREATE_COMPLETE",
    ]


def test_changed_property_updates_in_place_and_leaves_others_alone(stack: Any) -> None:
    stack.deploy({"Topic": TOPIC, "Other": TOPIC})
    before = stack.physical_id("Topic")
    assert stack.deploy({"Topic": topic("two"), "Other": TOPIC}) == "UPDATE_COMPLETE"
    attributes = stack.aws.client("sns").get_topic_attributes(TopicArn=before)["Attributes"]
    assert (stack.physical_id("Topic"), attributes["DisplayName"]) == (before, "two")
    assert stack.events("Other") == ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]


def test_immutable_property_creates_the_new_resource_before_deleting_the_old(stack: Any) -> None:
    old, new = f"/{stack.name}/old", f"/{stack.name}/new"
    stack.deploy({"Group": log_group(old)})
    assert stack.deploy({"Group": log_group(new)}) == "UPDATE_COMPLETE"
    assert group_names(stack) == {new}
    assert stack.events()[-6:] == [
        "Group UPDATE_IN_PROGRESS",
        "Group UPDATE_COMPLETE",
        f"{stack.name} UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        "Group DELETE_IN_PROGRESS",
        "Group DELETE_COMPLETE",
        f"{stack.name} UPDATE_COMPLETE",
    ]


def test_update_replace_policy_retain_keeps_the_old_resource(stack: Any) -> None:
    old, new = f"/{stack.name}/old", f"/{stack.name}/new"
    stack.deploy({"Group": log_group(old) | {"UpdateReplacePolicy": "Retain"}})
    stack.deploy({"Group": log_group(new)})
    assert group_names(stack) == {old, new}
    stack.aws.client("logs").delete_log_group(logGroupName=old)


def test_resource_removed_from_the_template_is_deleted(stack: Any) -> None:
    stack.deploy({"Topic": TOPIC, "Group": log_group(f"/{stack.name}/g")})
    assert stack.deploy({"Topic": TOPIC}) == "UPDATE_COMPLETE"
    assert group_names(stack) == set()


def test_changed_dependency_updates_its_dependents(stack: Any) -> None:
    name = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Ref": "Group"}}}
    stack.deploy({"Group": log_group(f"/{stack.name}/a"), "Name": name})
    stack.deploy({"Group": log_group(f"/{stack.name}/b"), "Name": name})
    value = stack.aws.client("ssm").get_parameter(Name=stack.physical_id("Name"))["Parameter"]["Value"]
    assert value == f"/{stack.name}/b"


def test_failed_creation_rolls_back_with_a_reason(stack: Any) -> None:
    resources = {"Group": log_group(f"/{stack.name}/g"), "Broken": BROKEN | {"DependsOn": "Group"}}
    assert stack.deploy(resources) == "ROLLBACK_COMPLETE"
    assert "ml.nothing" in stack.reason("CREATE_FAILED")
    assert "[Broken]" in stack.reason("ROLLBACK_IN_PROGRESS")
    assert group_names(stack) == set()


def test_failed_update_restores_changed_replaced_and_added_resources(stack: Any) -> None:
    names = {key: f"/{stack.name}/{key}" for key in ("changed", "old", "new", "added")}
    stack.deploy({"Changed": log_group(names["changed"], 1), "Replaced": log_group(names["old"])})
    status = stack.deploy(
        {
            "Changed": log_group(names["changed"], 7),
            "Replaced": log_group(names["new"]),
            "Added": log_group(names["added"]),
            "Broken": BROKEN | {"DependsOn": ["Added", "Changed", "Replaced"]},
        }
    )
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert group_names(stack) == {names["changed"], names["old"]}
    assert retention(stack, names["changed"]) == 1
    assert stack.physical_id("Replaced") == names["old"]
    assert (
        stack.deploy({"Changed": log_group(names["changed"], 3), "Replaced": log_group(names["old"])})
        == "UPDATE_COMPLETE"
    )


def test_invalid_output_fails_the_deployment(stack: Any) -> None:
    status = stack.deploy({"Topic": TOPIC}, Outputs={"No": {"Value": {"Fn::GetAtt": ["Topic", "Colour"]}}})
    assert status == "ROLLBACK_COMPLETE"
    assert "Colour" in stack.reason("ROLLBACK_IN_PROGRESS")


def test_deletion_runs_in_reverse_order_and_honours_retain(stack: Any) -> None:
    kept = f"/{stack.name}/kept"
    dependent = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Ref": "Topic"}}}
    stack.deploy({"Topic": TOPIC, "Dependent": dependent, "Kept": log_group(kept) | {"DeletionPolicy": "Retain"}})
    assert stack.delete() == "DELETE_COMPLETE"
    order = [event for event in stack.events() if event.endswith("DELETE_COMPLETE")]
    assert order.index("Dependent DELETE_COMPLETE") < order.index("Topic DELETE_COMPLETE")
    assert stack.events("Kept")[-1] == "DELETE_SKIPPED"
    assert group_names(stack) == {kept}
    stack.aws.client("logs").delete_log_group(logGroupName=kept)


def test_resources_already_deleted_do_not_fail_the_deletion(stack: Any) -> None:
    role = {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}}
    stack.deploy(
        {
            "Bucket": {"Type": "AWS::S3::Bucket"},
            "Group": log_group(f"/{stack.name}/g"),
            "Role": {"Type": "AWS::IAM::Role", "Properties": role},
            "Topic": TOPIC,
        }
    )
    stack.aws.client("s3").delete_bucket(Bucket=stack.physical_id("Bucket"))
    stack.aws.client("logs").delete_log_group(logGroupName=stack.physical_id("Group"))
    stack.aws.client("iam").delete_role(RoleName=stack.physical_id("Role"))
    stack.aws.client("sns").delete_topic(TopicArn=stack.physical_id("Topic"))
    assert stack.delete() == "DELETE_COMPLETE"


def test_bucket_with_objects_fails_the_deletion_until_it_is_empty(stack: Any) -> None:
    stack.deploy({"Bucket": {"Type": "AWS::S3::Bucket"}})
    bucket = {"Bucket": stack.physical_id("Bucket"), "Key": "k"}
    stack.aws.client("s3").put_object(**bucket, Body=b"x")
    assert stack.delete() == "DELETE_FAILED"
    assert "[Bucket]" in stack.reason("DELETE_FAILED")
    stack.aws.client("s3").delete_object(**bucket)
    assert stack.delete() == "DELETE_COMPLETE"


def test_conditions_and_parameters_select_resources(stack: Any) -> None:
    sections = {
        "Parameters": {"Wanted": {"Type": "String", "Default": "no"}},
        "Conditions": {"IsWanted": {"Fn::Equals": [{"Ref": "Wanted"}, "yes"]}},
    }
    resources = {"Topic": TOPIC, "Odd": {"Type": "AWS::Quantum::Ledger", "Condition": "IsWanted"}}
    assert stack.deploy(resources, **sections) == "CREATE_COMPLETE"
    assert "Odd CREATE_IN_PROGRESS" not in stack.events()


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"Odd": {"Type": "AWS::Quantum::Ledger"}}, "AWS::Quantum::Ledger"),
        ({}, "At least one Resources member"),
    ],
)
def test_invalid_template_is_refused_at_once(stack: Any, resources: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        stack.deploy(resources)


def test_unsupported_property_fails_the_resource(stack: Any) -> None:
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"ReplicationConfiguration": {}}}
    assert stack.deploy({"Bucket": bucket}) == "ROLLBACK_COMPLETE"
    assert "ReplicationConfiguration" in stack.reason("CREATE_FAILED")


def test_unchanged_template_is_refused_as_an_update(stack: Any) -> None:
    stack.deploy({"Topic": TOPIC})
    with pytest.raises(ClientError, match="No updates are to be performed"):
        stack.deploy({"Topic": TOPIC})
