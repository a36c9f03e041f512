"""The buckets: staged models, inputs and outputs, and the grants on their prefixes."""

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.config import Config
from infra.constructs.encryption import READ, WRITE, Encryption
from infra.constructs.iam import Grantee, acknowledge, allow_listing, allow_objects

INPUT_PREFIX = "in/"
RESULT_PREFIX, FAILURE_PREFIX, AUDIO_PREFIX = "out/", "failures/", "audio/"
OUTPUT_PREFIXES = (RESULT_PREFIX, FAILURE_PREFIX, AUDIO_PREFIX)
CANCEL_PREFIX = "cancel/"  # clients write `cancel/<inference id>`, and the container looks for it


class Storage(Construct):
    """Three buckets: TLS only, encrypted and private, with objects that expire."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, encryption: Encryption) -> None:
        super().__init__(scope, construct_id)
        self._encryption = encryption
        self.model_prefix = f"models/{Stack.of(self).stack_name}/StagedModel/"  # docs/contracts.md, "Keys"
        # A model can be staged again from its commit, so the bucket never outlives the stack. The record of a staging
        # run must outlive late duplicates of the run's event, which arrive within six hours.
        self.artifacts = self._bucket("ArtifactBucket", RemovalPolicy.DESTROY, {f"{self.model_prefix}runs/": 1})
        user_data = RemovalPolicy.RETAIN if config.removal_policy == "retain" else RemovalPolicy.DESTROY
        self.inputs = self._bucket("InputBucket", user_data, {INPUT_PREFIX: config.input_retention_days})
        output_expiry = dict.fromkeys(OUTPUT_PREFIXES, config.output_retention_days)
        # A request waits in SageMaker's queue for at most six hours, so its cancellation outlives it.
        self.outputs = self._bucket("OutputBucket", user_data, {**output_expiry, CANCEL_PREFIX: 1})
        self._external = [
            s3.Bucket.from_bucket_name(self, f"ExternalBucket{index}", name)
            for index, name in enumerate(config.external_buckets)
        ]

    def grant_stage_model(self, grantee: Grantee) -> None:
        """Write, read, list and delete staged models."""
        read_and_write = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        uploads = ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        allow_objects(grantee, self.artifacts, self.model_prefix, *read_and_write, *uploads)
        allow_listing(grantee, self.artifacts, self.model_prefix)
        # To abort the uploads of a killed run. The action has no prefix condition; it reveals keys and upload ids.
        unfinished = ["s3:ListBucketMultipartUploads"]
        iam.Grant.add_to_principal(grantee=grantee, actions=unfinished, resource_arns=[self.artifacts.bucket_arn])
        self._encryption.grant_objects(grantee, [self.artifacts], READ, WRITE)

    def grant_serve(self, grantee: Grantee) -> None:
        """Read staged models and inputs; write results, failures and audio; write audio to the external buckets.

        Audio is read too, as requests may continue clips that were generated before.
        Without ListBucket, S3 answers 403 for a cancellation that does not exist, which the container takes for that.
        """
        allow_objects(grantee, self.artifacts, self.model_prefix, "s3:GetObject")
        allow_objects(grantee, self.inputs, INPUT_PREFIX, "s3:GetObject")
        for prefix in OUTPUT_PREFIXES:
            allow_objects(grantee, self.outputs, prefix, "s3:PutObject", "s3:AbortMultipartUpload")
        allow_objects(grantee, self.outputs, CANCEL_PREFIX, "s3:GetObject")
        allow_objects(grantee, self.outputs, AUDIO_PREFIX, "s3:GetObject")
        for bucket in self._external:
            allow_objects(grantee, bucket, AUDIO_PREFIX, "s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload")
        self._encryption.grant_objects(grantee, [self.artifacts, self.inputs], READ)
        self._encryption.grant_objects(grantee, [self.outputs], READ, WRITE)

    def grant_list_models(self, grantee: Grantee) -> None:
        """List staged models: SageMaker lists an uncompressed model's prefix to find its files."""
        allow_listing(grantee, self.artifacts, self.model_prefix)

    def grant_use(self, grantee: Grantee) -> None:
        """Write inputs and read outputs, with 404 for an output that does not exist yet; cancel requests."""
        allow_objects(grantee, self.inputs, INPUT_PREFIX, "s3:PutObject")
        for prefix in OUTPUT_PREFIXES:
            allow_objects(grantee, self.outputs, prefix, "s3:GetObject")
        allow_listing(grantee, self.outputs, *OUTPUT_PREFIXES)
        allow_objects(grantee, self.outputs, CANCEL_PREFIX, "s3:PutObject")
        self._encryption.grant_objects(grantee, [self.inputs], READ, WRITE)
        self._encryption.grant_objects(grantee, [self.outputs], READ, WRITE)

    def _bucket(self, bucket_id: str, removal_policy: RemovalPolicy, expiry_days: dict[str, int]) -> s3.Bucket:
        """Create a bucket whose objects expire after the given number of days, by prefix."""
        expiry = [
            s3.LifecycleRule(id=f"Expire-{prefix.rstrip('/')}", prefix=prefix, expiration=Duration.days(days))
            for prefix, days in expiry_days.items()
        ]
        unfinished = s3.LifecycleRule(id="AbortUnfinished", abort_incomplete_multipart_upload_after=Duration.days(1))
        bucket = s3.Bucket(
            self,
            bucket_id,
            **self._encryption.bucket_settings(),
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            lifecycle_rules=[unfinished, *expiry],
            removal_policy=removal_policy,
            auto_delete_objects=removal_policy == RemovalPolicy.DESTROY,
        )
        reason = "an access-log bucket cannot be deleted while late logs arrive, and CloudTrail can log object access"
        acknowledge(bucket, {"AwsSolutions-S1": reason})
        return bucket
