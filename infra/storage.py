"""The buckets: staged models, inputs and outputs, and who may do what under which prefix."""

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.acknowledge import Grantee, accept_wildcard, acknowledge
from infra.config import Config
from infra.encryption import READ, WRITE, Encryption

INPUT_PREFIX = "in/"
RESULT_PREFIX, FAILURE_PREFIX, AUDIO_PREFIX = "out/", "failures/", "audio/"
OUTPUT_PREFIXES = (RESULT_PREFIX, FAILURE_PREFIX, AUDIO_PREFIX)


class Storage(Construct):
    """Three buckets: TLS only, encrypted, private, and what lies in them expires."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, encryption: Encryption) -> None:
        super().__init__(scope, construct_id)
        self._encryption = encryption
        users_data = RemovalPolicy.RETAIN if config.removal_policy == "retain" else RemovalPolicy.DESTROY
        # What is staged can be staged again from the pinned commit, so it never outlives the stack.
        # Records of staging runs outlive any late repetition of a run's event, which lives six hours at most.
        runs = f"{staged_models(self)}runs/"
        self.artifacts = self._bucket("ArtifactBucket", removal_policy=RemovalPolicy.DESTROY, expiring={runs: 1})
        self.inputs = self._bucket(
            "InputBucket",
            removal_policy=users_data,
            expiring={INPUT_PREFIX: config.input_retention_days},
        )
        self.outputs = self._bucket(
            "OutputBucket",
            removal_policy=users_data,
            expiring=dict.fromkeys(OUTPUT_PREFIXES, config.output_retention_days),
        )
        self._external = [
            s3.Bucket.from_bucket_name(self, f"ExternalBucket{index}", name)
            for index, name in enumerate(config.external_buckets)
        ]

    def grant_stage_model(self, grantee: Grantee, *, prefix: str) -> None:
        """Write, look at and remove staged models under `prefix` of the artifact bucket."""
        read_and_write = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        uploads = ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        allow_objects(grantee, self.artifacts, prefix, *read_and_write, *uploads)
        allow_listing(grantee, self.artifacts, prefix)
        # To abort what a killed run left behind. The action knows no prefix condition; it reveals keys and upload ids.
        unfinished = ["s3:ListBucketMultipartUploads"]
        iam.Grant.add_to_principal(grantee=grantee, actions=unfinished, resource_arns=[self.artifacts.bucket_arn])
        self._encryption.grant_objects(grantee, [self.artifacts], READ, WRITE)

    def grant_serve(self, grantee: Grantee, *, model_prefix: str) -> None:
        """Read staged models and inputs; write results, failures and audio, to the external buckets audio alone."""
        allow_objects(grantee, self.artifacts, model_prefix, "s3:GetObject")
        allow_objects(grantee, self.inputs, INPUT_PREFIX, "s3:GetObject")
        for prefix in OUTPUT_PREFIXES:
            allow_objects(grantee, self.outputs, prefix, "s3:PutObject", "s3:AbortMultipartUpload")
        for bucket in self._external:
            allow_objects(grantee, bucket, AUDIO_PREFIX, "s3:PutObject", "s3:AbortMultipartUpload")
        self._encryption.grant_objects(grantee, [self.artifacts, self.inputs], READ)
        self._encryption.grant_objects(grantee, [self.outputs], READ, WRITE)

    def grant_list_models(self, grantee: Grantee, *, prefix: str) -> None:
        """Learn which objects there are under `prefix` of the artifact bucket."""
        allow_listing(grantee, self.artifacts, prefix)

    def grant_use(self, grantee: Grantee) -> None:
        """What a client does: write inputs, read what comes out, and learn that it is not there yet."""
        allow_objects(grantee, self.inputs, INPUT_PREFIX, "s3:PutObject")
        for prefix in OUTPUT_PREFIXES:
            allow_objects(grantee, self.outputs, prefix, "s3:GetObject")
        allow_listing(grantee, self.outputs, *OUTPUT_PREFIXES)
        self._encryption.grant_objects(grantee, [self.inputs], READ, WRITE)
        self._encryption.grant_objects(grantee, [self.outputs], READ)

    def _bucket(self, bucket_id: str, *, removal_policy: RemovalPolicy, expiring: dict[str, int]) -> s3.Bucket:
        expiry = [
            s3.LifecycleRule(id=f"Expire-{prefix.rstrip('/')}", prefix=prefix, expiration=Duration.days(days))
            for prefix, days in expiring.items()
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


def staged_models(scope: Construct) -> str:
    """Return the prefix of all that the staged model's resource writes (docs/contracts.md, "Keys")."""
    return f"models/{Stack.of(scope).stack_name}/StagedModel/"


def allow_objects(grantee: Grantee, bucket: s3.IBucket, prefix: str, *actions: str) -> None:
    """Let it do these with the objects under a prefix of a bucket, which ends in a slash."""
    resource = bucket.arn_for_objects(f"{prefix}*")
    iam.Grant.add_to_principal(grantee=grantee, actions=list(actions), resource_arns=[resource])
    accept_wildcard(grantee, resource, f"keys are chosen at run time; the wildcard ends at {prefix}")


def allow_listing(grantee: Grantee, bucket: s3.IBucket, *prefixes: str) -> None:
    """ListBucket under the prefixes.

    Without it S3 answers 403, not 404, for a key that is not there yet. For that answer S3 takes the key asked for as
    `s3:prefix` (https://github.com/ceph/ceph/pull/68577), so the condition holds there too.
    """
    iam.Grant.add_to_principal(
        grantee=grantee,
        actions=["s3:ListBucket"],
        resource_arns=[bucket.bucket_arn],
        conditions={"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}},
    )
