"""The log group of CDK's function that empties buckets on destroy."""

from typing import Any, cast

from aws_cdk import CfnResource, RemovalPolicy, Stack
from aws_cdk import aws_logs as logs

_PROVIDER = "Custom::S3AutoDeleteObjectsCustomResourceProvider"


def adopt_bucket_emptier_logs(stack: Stack, retention: logs.RetentionDays) -> None:
    """Give the function a log group of the stack, and no right to make one.

    As CDK makes it, Lambda creates the group at the first run, and again when late lines arrive after its deletion; it
    would outlive the stack. CustomResourceConfig, CDK's cure, knows other providers only. Does nothing in a stack that
    leaves its buckets.
    """
    provider = stack.node.try_find_child(_PROVIDER)
    if provider is None:
        return
    group = logs.LogGroup(stack, "BucketEmptierLogs", retention=retention, removal_policy=RemovalPolicy.DESTROY)
    handler = cast(CfnResource, provider.node.find_child("Handler"))
    handler.add_property_override("LoggingConfig", {"LogGroup": group.log_group_name})
    role = cast(CfnResource, provider.node.find_child("Role"))
    role.add_property_override("ManagedPolicyArns", [])
    role.add_property_override("Policies", [{"PolicyName": "Logs", "PolicyDocument": _write_to(group)}])


def _write_to(group: logs.LogGroup) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": group.log_group_arn,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
