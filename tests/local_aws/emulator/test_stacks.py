"""The life of a stack: order, in-place updates, replacement, rollback, deletion; all through the public API."""
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


def test_a_stack_is_created_in_order_with_an_event_for_each_step(stack: Any) -> None:
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


def test_a_changed_property_updates_in_place_and_leaves_the_rest_alone(stack: Any) -> None:
    stack.deploy({"Topic": TOPIC, "Other": TOPIC})
    before = stack.physical_id("Topic")
    assert stack.deploy({"Topic": topic("two"), "Other": TOPIC}) == "UPDATE_COMPLETE"
    attributes = stack.aws.client("sns").get_topic_attributes(TopicArn=before)["Attributes"]
    assert (stack.physical_id("Topic"), attributes["DisplayName"]) == (before, "two")
    assert stack.events("Other") == ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]


def test_an_immutable_property_replaces_first_and_deletes_the_old_in_the_cleanup(stack: Any) -> None:
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


def test_update_replace_policy_retain_keeps_what_was_replaced(stack: Any) -> None:
    old, new = f"/{stack.name}/old", f"/{stack.name}/new"
    stack.deploy({"Group": log_group(old) | {"UpdateReplacePolicy": "Retain"}})
    stack.deploy({"Group": log_group(new)})
    assert group_names(stack) == {old, new}
    stack.aws.client("logs").delete_log_group(logGroupName=old)


def test_a_resource_taken_out_of_the_template_is_deleted(stack: Any) -> None:
    stack.deploy({"Topic": TOPIC, "Group": log_group(f"/{stack.name}/g")})
    assert stack.deploy({"Topic": TOPIC}) == "UPDATE_COMPLETE"
    assert group_names(stack) == set()


def test_a_changed_dependency_reaches_what_refers_to_it(stack: Any) -> None:
    name = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Ref": "Group"}}}
    stack.deploy({"Group": log_group(f"/{stack.name}/a"), "Name": name})
    stack.deploy({"Group": log_group(f"/{stack.name}/b"), "Name": name})
    value = stack.aws.client("ssm").get_parameter(Name=stack.physical_id("Name"))["Parameter"]["Value"]
    assert value == f"/{stack.name}/b"


def test_a_failed_creation_removes_what_was_made_and_says_why(stack: Any) -> None:
    resources = {"Group": log_group(f"/{stack.name}/g"), "Broken": BROKEN | {"DependsOn": "Group"}}
    assert stack.deploy(resources) == "ROLLBACK_COMPLETE"
    assert "ml.nothing" in stack.reason("CREATE_FAILED")
    assert "[Broken]" in stack.reason("ROLLBACK_IN_PROGRESS")
    assert group_names(stack) == set()


def test_a_failed_update_restores_changed_replaced_and_added_resources(stack: Any) -> None:
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


def test_a_wrong_output_fails_the_deployment_and_not_the_reader(stack: Any) -> None:
    status = stack.deploy({"Topic": TOPIC}, Outputs={"No": {"Value": {"Fn::GetAtt": ["Topic", "Colour"]}}})
    assert status == "ROLLBACK_COMPLETE"
    assert "Colour" in stack.reason("ROLLBACK_IN_PROGRESS")


def test_deletion_goes_backwards_and_honours_retain(stack: Any) -> None:
    kept = f"/{stack.name}/kept"
    dependent = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Ref": "Topic"}}}
    stack.deploy({"Topic": TOPIC, "Dependent": dependent, "Kept": log_group(kept) | {"DeletionPolicy": "Retain"}})
    assert stack.delete() == "DELETE_COMPLETE"
    order = [event for event in stack.events() if event.endswith("DELETE_COMPLETE")]
    assert order.index("Dependent DELETE_COMPLETE") < order.index("Topic DELETE_COMPLETE")
    assert stack.events("Kept")[-1] == "DELETE_SKIPPED"
    assert group_names(stack) == {kept}
    stack.aws.client("logs").delete_log_group(logGroupName=kept)


def test_resources_deleted_by_hand_do_not_stop_the_deletion(stack: Any) -> None:
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


def test_a_bucket_with_objects_fails_the_deletion_until_it_is_empty(stack: Any) -> None:
    stack.deploy({"Bucket": {"Type": "AWS::S3::Bucket"}})
    bucket = {"Bucket": stack.physical_id("Bucket"), "Key": "k"}
    stack.aws.client("s3").put_object(**bucket, Body=b"x")
    assert stack.delete() == "DELETE_FAILED"
    assert "[Bucket]" in stack.reason("DELETE_FAILED")
    stack.aws.client("s3").delete_object(**bucket)
    assert stack.delete() == "DELETE_COMPLETE"


def test_conditions_and_parameters_decide_what_exists(stack: Any) -> None:
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
def test_a_template_that_cannot_be_deployed_is_refused_at_once(
    stack: Any, resources: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message):
        stack.deploy(resources)


def test_a_property_that_would_be_ignored_fails_the_resource_by_name(stack: Any) -> None:
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"ReplicationConfiguration": {}}}
    assert stack.deploy({"Bucket": bucket}) == "ROLLBACK_COMPLETE"
    assert "ReplicationConfiguration" in stack.reason("CREATE_FAILED")


def test_an_unchanged_template_is_no_update(stack: Any) -> None:
    stack.deploy({"Topic": TOPIC})
    with pytest.raises(ClientError, match="No updates are to be performed"):
        stack.deploy({"Topic": TOPIC})
