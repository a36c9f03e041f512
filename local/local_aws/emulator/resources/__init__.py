"""Every resource type that the embedded CloudFormation knows; a template with any other is refused."""

from __future__ import annotations

from local_aws.emulator.resources.autoscaling_policy import ScalingPolicy
from local_aws.emulator.resources.autoscaling_target import ScalableTarget
from local_aws.emulator.resources.base import Handler
from local_aws.emulator.resources.cdk_metadata import Metadata
from local_aws.emulator.resources.cloudwatch_alarm import Alarm
from local_aws.emulator.resources.custom_resource import CustomResource
from local_aws.emulator.resources.ecr_repository import Repository
from local_aws.emulator.resources.iam_managed_policy import ManagedPolicy
from local_aws.emulator.resources.iam_policy import Policy
from local_aws.emulator.resources.iam_role import Role
from local_aws.emulator.resources.kms_key import Key
from local_aws.emulator.resources.lambda_event_invoke_config import EventInvokeConfig
from local_aws.emulator.resources.lambda_function import Function
from local_aws.emulator.resources.logs_log_group import LogGroup
from local_aws.emulator.resources.s3_bucket import Bucket
from local_aws.emulator.resources.s3_bucket_policy import BucketPolicy
from local_aws.emulator.resources.sagemaker_endpoint import Endpoint
from local_aws.emulator.resources.sagemaker_model import EndpointConfig, Model
from local_aws.emulator.resources.sns_subscription import Subscription
from local_aws.emulator.resources.sns_topic import Topic
from local_aws.emulator.resources.sns_topic_policy import TopicPolicy
from local_aws.emulator.resources.ssm_parameter import Parameter

_CUSTOM = "Custom::*"
_HANDLERS: dict[str, Handler] = {
    type_name: handler
    for handler in (
        Alarm(),
        Bucket(),
        BucketPolicy(),
        CustomResource(),
        Endpoint(),
        EndpointConfig(),
        EventInvokeConfig(),
        Function(),
        Key(),
        LogGroup(),
        ManagedPolicy(),
        Metadata(),
        Model(),
        Parameter(),
        Policy(),
        Repository(),
        Role(),
        ScalableTarget(),
        ScalingPolicy(),
        Subscription(),
        Topic(),
        TopicPolicy(),
    )
    for type_name in handler.types
}


def find_handler(resource_type: str) -> Handler | None:
    """The handler of a resource type, None for a type that is not known here."""
    return _HANDLERS.get(_CUSTOM if resource_type.startswith("Custom::") else resource_type)
