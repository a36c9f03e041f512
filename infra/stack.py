"""The stack: text in, music out, nothing paid while idle."""

import json

from aws_cdk import CfnOutput, Environment, Stack, Tags
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.async_endpoint import AsyncEndpoint
from infra.bucket_emptier import adopt_bucket_emptier_logs
from infra.client_access import ClientAccess
from infra.config import Config
from infra.encryption import Encryption
from infra.instances import usd_per_hour
from infra.logs import retention
from infra.monitoring import Monitoring
from infra.notifications import Notifications
from infra.scale_to_zero import ScaleToZero
from infra.staged_model import StagedModel
from infra.storage import Storage


class MusicGenStack(Stack):
    """Composes the constructs, grants between them, and names what people need to use them."""

    def __init__(self, scope: Construct, *, config: Config) -> None:
        super().__init__(
            scope,
            config.stack_name,
            description="MusicGen behind a SageMaker asynchronous endpoint that scales to zero",
            # Image, prices and endpoint depend on the region, so it is known here; the account may be left open.
            env=Environment(account=config.account or None, region=config.region),
        )
        self.config = config
        self.encryption = Encryption(self, "Encryption", config=config)
        self.storage = Storage(self, "Storage", config=config, encryption=self.encryption)
        self.notifications = Notifications(self, "Notifications", config=config, encryption=self.encryption)
        self.staged_model = StagedModel(self, "StagedModel", config=config, storage=self.storage)
        self.endpoint = AsyncEndpoint(
            self,
            "AsyncEndpoint",
            config=config,
            staged_model=self.staged_model,
            storage=self.storage,
            notifications=self.notifications,
        )
        self.scaling = ScaleToZero(self, "ScaleToZero", config=config, endpoint=self.endpoint)
        self.monitoring = Monitoring(self, "Monitoring", config=config, topic=self.notifications.alarm)
        self.client_access = ClientAccess(self, "ClientAccess")
        self._grant()
        self._fit_into_account()
        self._output()

    def _grant(self) -> None:
        self.storage.grant_serve(self.endpoint.role, model_prefix=self.staged_model.key_prefix)
        self.staged_model.grant_load(self.endpoint.role, storage=self.storage)
        self.notifications.grant_announce(self.endpoint.role)
        self.storage.grant_use(self.client_access.policy)
        self.endpoint.grant_invoke(self.client_access.policy)

    def _fit_into_account(self) -> None:
        adopt_bucket_emptier_logs(self, retention(self.config))
        if self.config.permissions_boundary:
            boundary = iam.ManagedPolicy.from_managed_policy_name(self, "Boundary", self.config.permissions_boundary)
            iam.PermissionsBoundary.of(self).apply(boundary)
        for tag in self.config.tags:
            key, _, value = tag.partition("=")
            Tags.of(self).add(key, value)

    def _output(self) -> None:
        outputs = {
            "EndpointName": self.endpoint.name,
            "InputBucketName": self.storage.inputs.bucket_name,
            "OutputBucketName": self.storage.outputs.bucket_name,
            "ArtifactBucketName": self.storage.artifacts.bucket_name,
            "SuccessTopicArn": self.notifications.success.topic_arn,
            "ErrorTopicArn": self.notifications.error.topic_arn,
            "ClientPolicyArn": self.client_access.policy.managed_policy_arn,
            "ModelDataUrl": self.staged_model.model_data_url,
            "InvokeCommand": invoke_command(self.config),
            "InstancePricePerHourUsd": str(usd_per_hour(self.config.instance_type)),
        }
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)


def invoke_command(config: Config) -> str:
    """A shell command that asks for five seconds of music.

    From standard input, because the AWS CLI's versions 1 and 2 read a body given as an argument differently.
    """
    body = json.dumps({"texts": ["warm acoustic guitar, slow and calm"], "generation_params": {"duration": 5}})
    return (
        f"echo '{body}' | aws sagemaker-runtime invoke-endpoint-async --region {config.region} "
        f"--endpoint-name {config.endpoint} --content-type application/json --body fileb:///dev/stdin"
    )
