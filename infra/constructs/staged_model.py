# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""The staged model in S3, created by the staging Lambda when the stack is deployed."""

from pathlib import Path

from aws_cdk import CustomResource, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as assets
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.config import Config
from infra.config.models import COMPANION, Model, find_model
from infra.constructs.encryption import READ
from infra.constructs.iam import Grantee, allow_listing, allow_objects
from infra.constructs.log_groups import removal, retention
from infra.constructs.staging_lambda_code import ARCHITECTURE, RUNTIME, staging_code
from infra.constructs.storage import Storage

BUNDLE = Path(__file__).resolve().parents[2] / "model_bundle" / "code"


class StagedModel(Construct):
    """`Custom::StagedModel` as in docs/contracts.md: copies a commit of the Hub into S3 in the form SageMaker loads."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, storage: Storage) -> None:
        super().__init__(scope, construct_id)
        self._storage = storage
        self.bundle = assets.Asset(self, "Bundle", path=str(BUNDLE), exclude=["**/__pycache__", "**/*.pyc"])
        self.function = self._function(config)
        self._uncompressed = config.packaging == "uncompressed"
        self._grant(config)
        # A separate policy: the role's default one is created before the function.
        invocation = iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[self.function.function_arn])
        self_invocation = iam.Policy(self, "HandOver", roles=[self.role], statements=[invocation])
        self.resource = CustomResource(
            self,
            "Resource",
            resource_type="Custom::StagedModel",
            service_token=self.function.function_arn,
            service_timeout=Duration.hours(1),  # CloudFormation's maximum
            properties={
                "ModelId": config.model_id,
                "Revision": config.commit,
                "DecoderDtype": config.decoder_dtype,
                "CodeBucket": self.bundle.s3_bucket_name,
                "CodeKey": self.bundle.s3_object_key,
                "ModelBucket": storage.artifacts.bucket_name,
                "KeyPrefix": storage.model_prefix,
                **({"Packaging": config.packaging} if self._uncompressed else {}),
                **({"TokenSecretArn": config.token_secret_arn} if config.token_secret_arn else {}),
                **({"Custom": _custom(config.model)} if config.model.like else {}),
            },
        )
        # Permissions and bucket must exist before staging starts, and until the staged model has been deleted.
        self.resource.node.add_dependency(self.function, self.role, self_invocation, storage.artifacts)

    @property
    def model_data_url(self) -> str:
        """`s3://` URL of the tarball, or of the prefix of the files."""
        return self.resource.get_att_string("ModelDataUrl")

    def container_definition(
        self, *, image: str, environment: dict[str, str]
    ) -> sagemaker.CfnModel.ContainerDefinitionProperty:
        """Return a container that loads this model."""
        props = sagemaker.CfnModel
        if not self._uncompressed:
            return props.ContainerDefinitionProperty(
                image=image, model_data_url=self.model_data_url, environment=environment
            )
        source = props.S3DataSourceProperty(
            s3_uri=self.model_data_url, s3_data_type="S3Prefix", compression_type="None"
        )
        return props.ContainerDefinitionProperty(
            image=image,
            model_data_source=props.ModelDataSourceProperty(s3_data_source=source),
            environment=environment,
        )

    def grant_load(self, grantee: Grantee) -> None:
        """Allow what loading needs beyond reading objects."""
        if self._uncompressed:
            self._storage.grant_list_models(grantee)

    def _function(self, config: Config) -> lambda_.Function:
        log_group = logs.LogGroup(self, "Logs", retention=retention(config), removal_policy=removal(config))
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
            memory_size=3008,  # MiB; the most that every new account may use, as CPU and network grow with memory
            timeout=Duration.minutes(15),  # Lambda's maximum
            # A retry resumes a crashed run from its journal; the run's record keeps duplicates from answering again.
            retry_attempts=2,
            max_event_age=Duration.minutes(30),  # less than CloudFormation waits, so no run starts after it gave up
            # A run continues in a new invocation before its timeout; Lambda would stop such a chain after 16.
            recursive_loop=lambda_.RecursiveLoop.ALLOW,
            environment={"HF_ENDPOINT": config.hub_endpoint},
        )

    def _grant(self, config: Config) -> None:
        self._storage.grant_stage_model(self.role)
        bundle = self.bundle.bucket.arn_for_objects(self.bundle.s3_object_key)
        iam.Grant.add_to_principal(grantee=self.role, actions=["s3:GetObject"], resource_arns=[bundle])
        if key := config.bootstrap_kms_key_arn:
            # S3 gives the object as encryption context, or the bucket where that has a bucket key.
            context = {"kms:EncryptionContext:aws:s3:arn": [self.bundle.bucket.bucket_arn, bundle]}
            iam.Grant.add_to_principal(
                grantee=self.role, actions=[READ], resource_arns=[key], conditions={"StringEquals": context}
            )
        if secret := config.token_secret_arn:
            iam.Grant.add_to_principal(
                grantee=self.role, actions=["secretsmanager:GetSecretValue"], resource_arns=[secret]
            )
        if config.s3_mirror:
            mirror = s3.Bucket.from_bucket_name(self, "Mirror", config.s3_mirror.partition("/")[0])
            for folder in config.mirrored_folders:
                allow_objects(self.role, mirror, folder, "s3:GetObject")
            allow_listing(self.role, mirror, *config.mirrored_folders)


def _custom(model: Model) -> dict[str, str]:
    """Return the property `Custom` of docs/contracts.md: the largest size of a custom model, and its companion."""
    return {
        "Like": str(model.like),
        "Layers": str(model.layers),
        "HiddenSize": str(model.hidden_size),
        "AudioChannels": str(model.audio_channels),
        "DecoderElements": str(model.decoder_parameters + model.decoder_buffers),
        "OtherElements": str(model.other_parameters + model.other_buffers),
        "ChromaFrames": str(model.chroma_frames),
        "CompanionModelId": COMPANION,
        "CompanionRevision": str(find_model(COMPANION).revision),
    }
