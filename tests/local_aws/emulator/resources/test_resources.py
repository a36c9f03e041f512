"""Resource handlers: create and update bring each resource to the state in the template."""

from typing import Any

import pytest

from local_aws.emulator.resources.base import Context, coerce

STATEMENT = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
EVERYTHING = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def bucket(**properties: Any) -> dict[str, Any]:
    return {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": properties}}


def test_bucket_settings_are_set_and_removed(stack: Any) -> None:
    rules = [{"Id": "r", "Status": "Enabled", "Prefix": "in/", "ExpirationInDays": 3}]
    rules += [{"Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}]
    block = dict.fromkeys(("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True)
    settings = {"LifecycleConfiguration": {"Rules": rules}, "PublicAccessBlockConfiguration": block}
    stack.deploy(bucket(**settings, VersioningConfiguration={"Status": "Enabled"}))
    s3, name = stack.aws.client("s3"), {"Bucket": stack.physical_id("Bucket")}
    deployed = s3.get_bucket_lifecycle_configuration(**name)["Rules"]
    assert deployed[0]["Filter"] == {"Prefix": "in/"} and deployed[0]["Expiration"] == {"Days": 3}
    assert deployed[1]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert s3.get_public_access_block(**name)["PublicAccessBlockConfiguration"] == block
    assert stack.deploy(bucket()) == "UPDATE_COMPLETE"
    assert s3.get_bucket_versioning(**name)["Status"] == "Suspended"
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(**name)


def test_lifecycle_rule_with_an_unsupported_member_is_refused(stack: Any) -> None:
    rules: list[dict[str, Any]] = [{"Status": "Enabled", "Transitions": []}]
    assert stack.deploy(bucket(LifecycleConfiguration={"Rules": rules})) == "ROLLBACK_COMPLETE"
    assert "Transitions" in stack.reason("CREATE_FAILED")


def test_role_update_changes_policies_and_boundary(stack: Any) -> None:
    def role(names: list[str], managed: list[str], **rest: Any) -> dict[str, Any]:
        policies = [{"PolicyName": name, "PolicyDocument": {**TRUST, "Statement": [STATEMENT]}} for name in names]
        properties = {"AssumeRolePolicyDocument": TRUST, "Policies": policies, "ManagedPolicyArns": managed, **rest}
        return {"Role": {"Type": "AWS::IAM::Role", "Properties": properties}}

    stack.deploy(role(["a", "b"], [EVERYTHING]))
    changed = role(["b", "c"], [], PermissionsBoundary=EVERYTHING, Description="new")
    assert stack.deploy(changed) == "UPDATE_COMPLETE", stack.reason("UPDATE_FAILED")
    iam, name = stack.aws.client("iam"), {"RoleName": stack.physical_id("Role")}
    assert sorted(iam.list_role_policies(**name)["PolicyNames"]) == ["b", "c"]
    assert iam.list_attached_role_policies(**name)["AttachedPolicies"] == []
    found = iam.get_role(**name)["Role"]
    assert found["PermissionsBoundary"]["PermissionsBoundaryArn"] == EVERYTHING
    assert found["Description"] == "new"


def test_managed_policy_keeps_one_version_after_many_updates(stack: Any) -> None:
    for number in range(7):
        document = {"Version": "2012-10-17", "Statement": [{**STATEMENT, "Sid": f"S{number}"}]}
        stack.deploy({"Policy": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}})
    arn = stack.physical_id("Policy")
    versions = stack.aws.client("iam").list_policy_versions(PolicyArn=arn)["Versions"]
    assert [version["IsDefaultVersion"] for version in versions] == [True]


def test_function_code_and_settings_are_updated_in_place(stack: Any, function_resources: Any) -> None:
    stack.deploy(function_resources("def handler(event, context): return 1", Timeout=5))
    name = stack.physical_id("Function")
    stack.deploy(function_resources("def handler(event, context): return 2", Timeout=7, MemorySize=256))
    functions = stack.aws.client("lambda")
    found = functions.get_function_configuration(FunctionName=name)
    assert (found["Timeout"], found["MemorySize"]) == (7, 256)
    assert found["LoggingConfig"]["LogGroup"] == stack.physical_id("Logs")
    assert functions.invoke(FunctionName=name)["Payload"].read() == b"2"


def test_scaling_and_alarms_are_deleted_with_their_stack(stack: Any) -> None:
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/none/variant/v",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    step = {
        "AdjustmentType": "ChangeInCapacity",
        "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
    }
    policy = {"PolicyName": "wake", "PolicyType": "StepScaling", "StepScalingPolicyConfiguration": step}
    alarm = {"Namespace": "n", "MetricName": "m", "Statistic": "Average", "Period": "60", "EvaluationPeriods": "2"}
    alarm |= {"Threshold": "1", "ComparisonOperator": "GreaterThanOrEqualToThreshold"}
    scaling = "AWS::ApplicationAutoScaling"
    stack.deploy(
        {
            "Target": {
                "Type": f"{scaling}::ScalableTarget",
                "Properties": {**target, "MinCapacity": 0, "MaxCapacity": "2"},
            },
            "Wake": {
                "Type": f"{scaling}::ScalingPolicy",
                "Properties": {**policy, "ScalingTargetId": {"Ref": "Target"}},
            },
            "Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": {**alarm, "AlarmActions": [{"Ref": "Wake"}]}},
        }
    )
    cloudwatch, autoscaling = stack.aws.client("cloudwatch"), stack.aws.client("application-autoscaling")
    (found,) = cloudwatch.describe_alarms(AlarmNames=[stack.physical_id("Alarm")])["MetricAlarms"]
    assert (found["Threshold"], found["AlarmActions"]) == (1.0, [stack.physical_id("Wake")])
    assert stack.delete() == "DELETE_COMPLETE"
    left = autoscaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[target["ResourceId"]])
    assert left["ScalableTargets"] == []


def test_generated_names_are_unique_bounded_and_start_with_the_stack() -> None:
    context = Context("A-stack-with-a-long-name", "id", "AResourceWithALongLogicalId", "T", "us-east-1")
    names = {context.new_name(32) for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) <= 32 and name.startswith("A-stack") for name in names)
    assert context.new_name(63, lower=True).startswith("a-stack-with-a-long-name-aresource")


def test_template_strings_are_coerced_to_the_types_of_the_api(stack: Any) -> None:
    client = stack.aws.client("cloudwatch")
    shape = client.meta.service_model.operation_model("PutMetricAlarm").input_shape
    fitted = coerce(shape, {"Period": "60", "Threshold": "1.5", "ActionsEnabled": "false", "AlarmName": 7}, "alarm")
    assert fitted == {"Period": 60, "Threshold": 1.5, "ActionsEnabled": False, "AlarmName": "7"}
