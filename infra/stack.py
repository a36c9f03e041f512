"""The stack: an asynchronous MusicGen endpoint that has no instance, and no bill for one, while idle."""

import json

from aws_cdk import Annotations, CfnOutput, Environment, Stack, Tags
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config import Config
from infra.config.instances import usd_per_hour
from infra.config.version import version
from infra.constructs.alarms import Monitoring
from infra.constructs.async_endpoint import AsyncEndpoint
from infra.constructs.encryption import Encryption
from infra.constructs.failed_start_report import FailedStartReport
from infra.constructs.iam import ClientAccess
from infra.constructs.log_groups import own_bucket_emptier_logs
from infra.constructs.notifications import Notifications
from infra.constructs.scaling import ScaleToZero
from infra.constructs.staged_model import StagedModel
from infra.constructs.storage import INPUT_PREFIX, Storage


class MusicGenStack(Stack):
    """Creates the constructs, grants between them, and outputs what clients need."""

    def __init__(self, scope: Construct, *, config: Config) -> None:
        super().__init__(
            scope,
            config.stack_name,
            description=f"MusicGen {version()} behind a SageMaker asynchronous endpoint that scales to zero",
            termination_protection=config.termination_protection == "on",
            # Image, prices and endpoint depend on the region, so it must be known; the account may be left open.
            env=Environment(account=config.account or None, region=config.region),
        )
        encryption = Encryption(self, "Encryption", config=config)
        storage = Storage(self, "Storage", config=config, encryption=encryption)
        notifications = Notifications(self, "Notifications", config=config, encryption=encryption)
        staged_model = StagedModel(self, "StagedModel", config=config, storage=storage)
        endpoint = AsyncEndpoint(
            self,
            "AsyncEndpoint",
            config=config,
            staged_model=staged_model,
            storage=storage,
            notifications=notifications,
        )
        FailedStartReport(self, "FailedStart", config=config, endpoint=endpoint)
        if config.scaling == "on":
            ScaleToZero(self, "ScaleToZero", config=config, endpoint=endpoint)
        Monitoring(self, "Monitoring", config=config, endpoint=endpoint, topic=notifications.alarm)
        client = ClientAccess(self, "ClientAccess")

        storage.grant_serve(endpoint.role)
        staged_model.grant_load(endpoint.role)
        notifications.grant_publish(endpoint.role)
        storage.grant_use(client.policy)
        endpoint.grant_invoke(client.policy)

        self._apply_account_policies(config)
        # `cdk diff` shows from it what an earlier deployment was given with -c and cdk.json does not have.
        self.template_options.metadata = {"Settings": config.changed_settings}
        outputs = {
            "EndpointName": (endpoint.name, "The asynchronous endpoint, for InvokeEndpointAsync"),
            "InputBucketName": (
                storage.inputs.bucket_name,
                "Requests too large for a call go here, under in/",
            ),
            "OutputBucketName": (storage.outputs.bucket_name, "Audio, responses and failures"),
            "ArtifactBucketName": (storage.artifacts.bucket_name, "The staged model"),
            "SuccessTopicArn": (notifications.success.topic_arn, "A message for each request that was answered"),
            "ErrorTopicArn": (notifications.error.topic_arn, "A message for each request that failed or expired"),
            "AlarmTopicArn": (notifications.alarm.topic_arn, "Alarms: subscribe the people who are on call"),
            "ClientPolicyArn": (client.policy.managed_policy_arn, "What a client needs: attach it to its role"),
            "ModelDataUrl": (staged_model.model_data_url, "Where the staged model is"),
            "InvokeCommand": (invoke_command(config), "Requests five seconds of music"),
            "InvokeCommandS3": (
                invoke_command_s3(config, input_bucket=storage.inputs.bucket_name),
                "The same through the input bucket, for older versions of the AWS CLI",
            ),
        }
        price = usd_per_hour(config.instance_type, region=config.region)
        if price is not None:
            outputs["InstancePricePerHourUsd"] = (
                str(price),
                "An instance's price while it runs, as of infra/config/prices.json",
            )
        for name, (value, description) in outputs.items():
            CfnOutput(self, name, value=value, description=description)

    def _apply_account_policies(self, config: Config) -> None:
        for name, warning in config.warnings.items():
            Annotations.of(self).add_warning_v2(f"musicgen:{name}", warning)
        own_bucket_emptier_logs(self, config)
        if config.permissions_boundary:
            policy = iam.ManagedPolicy
            by_arn = config.permissions_boundary.startswith("arn:")
            imported = policy.from_managed_policy_arn if by_arn else policy.from_managed_policy_name
            boundary = imported(self, "Boundary", config.permissions_boundary)
            iam.PermissionsBoundary.of(self).apply(boundary)
        for key, value in config.resource_tags.items():
            Tags.of(self).add(key, value)


def invoke_command(config: Config) -> str:
    """Return a shell command that requests five seconds of music in the body of the call.

    It needs botocore 1.43.29 or newer. The body comes from standard input, as versions 1 and 2 of the AWS CLI read a
    body argument differently.
    """
    return f"{_echo_request()} | {_invoke(config)} --body fileb:///dev/stdin"


def invoke_command_s3(config: Config, *, input_bucket: str) -> str:
    """Return two shell commands that put the same request into the input bucket and send its location.

    They work with every version of the AWS CLI.
    """
    request = f"s3://{input_bucket}/{INPUT_PREFIX}request.json"
    copy = f"{_echo_request()} | aws s3 cp - {request} --region {config.region} --content-type application/json"
    return f"{copy} && {_invoke(config)} --input-location {request}"


def _echo_request() -> str:
    body = {"texts": ["warm acoustic guitar, slow and calm"], "generation_params": {"duration": 5}}
    return f"echo '{json.dumps(body)}'"


def _invoke(config: Config) -> str:
    return (
        f"aws sagemaker-runtime invoke-endpoint-async --region {config.region} "
        f"--endpoint-name {config.endpoint} --content-type application/json"
    )
