"""Retention of the stack's log groups, and the log group of CDK's function that empties buckets."""

from typing import cast

from aws_cdk import CfnResource, RemovalPolicy, Stack
from aws_cdk import aws_logs as logs

from infra.config import Config

_RETENTION_BY_DAYS = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    120: logs.RetentionDays.FOUR_MONTHS,
    150: logs.RetentionDays.FIVE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    400: logs.RetentionDays.THIRTEEN_MONTHS,
    545: logs.RetentionDays.EIGHTEEN_MONTHS,
    731: logs.RetentionDays.TWO_YEARS,
    1096: logs.RetentionDays.THREE_YEARS,
    1827: logs.RetentionDays.FIVE_YEARS,
    2192: logs.RetentionDays.SIX_YEARS,
    2557: logs.RetentionDays.SEVEN_YEARS,
    2922: logs.RetentionDays.EIGHT_YEARS,
    3288: logs.RetentionDays.NINE_YEARS,
    3653: logs.RetentionDays.TEN_YEARS,
}


def retention(config: Config) -> logs.RetentionDays:
    """Return the configured number of days as CDK's enum."""
    return _RETENTION_BY_DAYS[config.log_retention_days]


def removal(config: Config) -> RemovalPolicy:
    """Return what becomes of log groups with the stack. Kept ones still go if the operation that creates them fails."""
    return RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE if config.removal_policy == "retain" else RemovalPolicy.DESTROY


def own_bucket_emptier_logs(stack: Stack, config: Config) -> None:
    """Give CDK's bucket-emptying function a log group of the stack, without the permission to create one.

    By default Lambda creates the group at the first run, and again when late lines arrive after its deletion, so it
    would outlive the stack. CDK's own CustomResourceConfig does not cover this provider. Does nothing if the stack
    keeps its buckets.
    """
    provider = stack.node.try_find_child("Custom::S3AutoDeleteObjectsCustomResourceProvider")
    if provider is None:
        return
    group = logs.LogGroup(stack, "BucketEmptierLogs", retention=retention(config), removal_policy=removal(config))
    handler = cast(CfnResource, provider.node.find_child("Handler"))
    handler.add_property_override("LoggingConfig", {"LogGroup": group.log_group_name})
    statement = {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": group.log_group_arn,
    }
    document = {"Version": "2012-10-17", "Statement": [statement]}
    role = cast(CfnResource, provider.node.find_child("Role"))
    role.add_property_override("ManagedPolicyArns", [])
    role.add_property_override("Policies", [{"PolicyName": "Logs", "PolicyDocument": document}])
