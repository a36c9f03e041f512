# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""The staged model in S3, made by the staging Lambda when the stack is deployed."""

from pathlib import Path

from aws_cdk import CustomResource, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as assets
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.acknowledge import Grantee
from infra.config import Config
from infra.logs import retention
from infra.staging_asset import ARCHITECTURE, RUNTIME, staging_code
from infra.storage import Storage, allow_listing, allow_objects, staged_models

BUNDLE = Path(__file__).resolve().parents[1] / "model_bundle" / "code"
MEMORY_MIB = 3008  # CPU and network come with memory; the most that every new account may use
TIMEOUT = Duration.minutes(15)  # Lambda's maximum
SERVICE_TIMEOUT = Duration.hours(1)  # CloudFormation's maximum


class StagedModel(Construct):
    """`Custom::StagedModel` as in docs/contracts.md: from a commit on the Hub to what SageMaker loads."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, storage: Storage) -> None:
        super().__init__(scope, construct_id)
        self.bundle = assets.Asset(self, "Bundle", path=str(BUNDLE), exclude=["**/__pycache__", "**/*.pyc"])
        self.key_prefix = staged_models(self)
        self.function = self._function(config)
        self._uncompressed = config.packaging == "uncompressed"
        self._grant(config, storage)
        hand_over = self._allow_hand_over()
        self.resource = CustomResource(
            self,
            "Resource",
            resource_type="Custom::StagedModel",
            service_token=self.function.function_arn,
            service_timeout=SERVICE_TIMEOUT,
            properties={
                "ModelId": config.model_id,
                "Revision": config.commit,
                "DecoderDtype": config.decoder_dtype,
                "CodeBucket": self.bundle.s3_bucket_name,
                "CodeKey": self.bundle.s3_object_key,
                "ModelBucket": storage.artifacts.bucket_name,
                "KeyPrefix": self.key_prefix,
                **({"Packaging": config.packaging} if self._uncompressed else {}),
                **({"TokenSecretArn": config.token_secret_arn} if config.token_secret_arn else {}),
            },
        )
        # Rights and bucket must be there before staging begins, and still be there when the model is deleted.
        self.resource.node.add_dependency(self.function, self.role, hand_over, storage.artifacts)

    @property
    def model_data_url(self) -> str:
        """`s3://` URL of the tarball, or of the prefix of the files."""
        return self.resource.get_att_string("ModelDataUrl")

    def container_definition(
        self, *, image: str, environment: dict[str, str]
    ) -> sagemaker.CfnModel.ContainerDefinitionProperty:
        """A container that loads this model."""
        kind = sagemaker.CfnModel
        if not self._uncompressed:
            return kind.ContainerDefinitionProperty(
                image=image, model_data_url=self.model_data_url, environment=environment
            )
        source = kind.S3DataSourceProperty(s3_uri=self.model_data_url, s3_data_type="S3Prefix", compression_type="None")
        return kind.ContainerDefinitionProperty(
            image=image,
            model_data_source=kind.ModelDataSourceProperty(s3_data_source=source),
            environment=environment,
        )

    def grant_load(self, grantee: Grantee, *, storage: Storage) -> None:
        """What loading takes beyond reading objects: SageMaker lists a prefix to learn its files."""
        if self._uncompressed:
            storage.grant_list_models(grantee, prefix=self.key_prefix)

    def _function(self, config: Config) -> lambda_.Function:
        log_group = logs.LogGroup(self, "Logs", retention=retention(config), removal_policy=RemovalPolicy.DESTROY)
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        iam.Grant.add_to_principal(
            grantee=self.role,
            actions=["logs:CreateLogStream", "logs:PutLogEvents"],
            resource_arns=[log_group.log_group_arn],
        )
        return lambda_.Function(
            self,
            "Function",
            description="Stages the MusicGen model tarball (Custom::StagedModel)",
            runtime=RUNTIME,
            architecture=ARCHITECTURE,
            handler="stage_model.handler.handler",
            code=staging_code(),
            role=self.role,
            log_group=log_group,
            memory_size=MEMORY_MIB,
            timeout=TIMEOUT,
            # A run that died is gone on with from its journal; its record keeps repeated ones from answering again.
            retry_attempts=2,
            max_event_age=Duration.minutes(30),  # shorter than CloudFormation waits: no request begins after its end
            # A run that nears its time-out hands over to itself; Lambda would end such a chain at 16 invocations.
            recursive_loop=lambda_.RecursiveLoop.ALLOW,
            environment={"HF_ENDPOINT": config.hub_endpoint},
        )

    def _grant(self, config: Config, storage: Storage) -> None:
        storage.grant_stage_model(self.role, prefix=self.key_prefix)
        bundle = self.bundle.bucket.arn_for_objects(self.bundle.s3_object_key)
        iam.Grant.add_to_principal(grantee=self.role, actions=["s3:GetObject"], resource_arns=[bundle])
        if config.token_secret_arn:
            iam.Grant.add_to_principal(
                grantee=self.role,
                actions=["secretsmanager:GetSecretValue"],
                resource_arns=[config.token_secret_arn],
            )
        if config.mirror:
            bucket, _, prefix = config.mirror.partition("/")
            folder = "/".join(part for part in (prefix, config.model_id, config.commit) if part) + "/"
            mirror = s3.Bucket.from_bucket_name(self, "Mirror", bucket)
            allow_objects(self.role, mirror, folder, "s3:GetObject")
            allow_listing(self.role, mirror, folder)

    def _allow_hand_over(self) -> iam.Policy:
        """Let the function invoke itself. A policy of its own: the role's default one is made before the function."""
        statement = iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[self.function.function_arn])
        return iam.Policy(self, "HandOver", roles=[self.role], statements=[statement])
