"""The resource types that the embedded CloudFormation deploys, one module per AWS service.

To add a type, write a `Handler` in its service's module and list it in `_HANDLERS`. Only `cloudformation` imports this.
"""

from local_aws.emulator.resources import (
    application_autoscaling,
    cdk,
    cloudwatch,
    custom_resource,
    ecr,
    iam,
    kms,
    lambda_,
    logs,
    s3,
    sagemaker,
    sns,
    ssm,
)
from local_aws.emulator.resources.base import Handler

_HANDLERS: tuple[type[Handler], ...] = (
    application_autoscaling.ScalableTarget,
    application_autoscaling.ScalingPolicy,
    cdk.Metadata,
    cloudwatch.Alarm,
    custom_resource.CustomResource,
    ecr.Repository,
    iam.ManagedPolicy,
    iam.Policy,
    iam.Role,
    kms.Key,
    lambda_.EventInvokeConfig,
    lambda_.Function,
    logs.LogGroup,
    s3.Bucket,
    s3.BucketPolicy,
    sagemaker.Endpoint,
    sagemaker.EndpointConfig,
    sagemaker.Model,
    sns.Subscription,
    sns.Topic,
    sns.TopicPolicy,
    ssm.Parameter,
)
_BY_TYPE: dict[str, Handler] = {name: handler() for handler in _HANDLERS for name in handler.types}


def find_handler(resource_type: str) -> Handler | None:
    """Return the handler of a resource type, or None if the embedded AWS does not support it."""
    return _BY_TYPE.get("Custom::*" if resource_type.startswith("Custom::") else resource_type)
