# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""The optional customer-managed key of buckets and topics, its policy, and the grants to use it."""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.config import Config

# Administration without cryptographic use: no encryption, no decryption and no kms:CreateGrant.
_ADMINISTRATION = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)
READ, WRITE = "kms:Decrypt", "kms:GenerateDataKey"  # multipart uploads and publishing need both


class Encryption(Construct):
    """The customer-managed key. Without one, `key` is None and the grants do nothing."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config) -> None:
        super().__init__(scope, construct_id)
        self.key = _key(self, config) if config.encryption == "customer-managed" else None

    def bucket_settings(self) -> dict[str, Any]:
        """Return the encryption arguments of `s3.Bucket`."""
        if self.key is None:
            return {"encryption": s3.BucketEncryption.S3_MANAGED}
        # A bucket key replaces one call to KMS per object with one data key that is used for a while.
        return {"encryption": s3.BucketEncryption.KMS, "encryption_key": self.key, "bucket_key_enabled": True}

    def grant_objects(self, grantee: iam.IGrantable, buckets: Sequence[s3.IBucket], *actions: str) -> None:
        """Use the key for objects of `buckets`; S3 gives the bucket or the object as encryption context."""
        arns = [arn for bucket in buckets for arn in (bucket.bucket_arn, bucket.arn_for_objects("*"))]
        self._grant(grantee, actions, {"StringLike": {"kms:EncryptionContext:aws:s3:arn": arns}})

    def grant_publish(self, grantee: iam.IGrantable, topics: Sequence[sns.ITopic]) -> None:
        """Use the key for messages to `topics`."""
        arns = [topic.topic_arn for topic in topics]
        self._grant(grantee, (READ, WRITE), {"StringEquals": {"kms:EncryptionContext:aws:sns:topicArn": arns}})

    def _grant(self, grantee: iam.IGrantable, actions: Sequence[str], conditions: dict[str, Any]) -> None:
        if self.key is not None:
            iam.Grant.add_to_principal(
                grantee=grantee, actions=list(actions), resource_arns=[self.key.key_arn], conditions=conditions
            )


def _key(scope: Construct, config: Config) -> kms.Key:
    return kms.Key(
        scope,
        "Key",
        description="MusicGen: models, inputs, outputs and messages",
        enable_key_rotation=True,
        policy=iam.PolicyDocument(statements=_key_policy(Stack.of(scope))),
        pending_window=Duration.days(7),
        # Retained buckets must stay readable.
        removal_policy=RemovalPolicy.RETAIN if config.removal_policy == "retain" else RemovalPolicy.DESTROY,
    )


def _key_policy(stack: Stack) -> list[iam.PolicyStatement]:
    account, everything = iam.AccountRootPrincipal(), ["*"]  # in a key policy, `*` is this key
    services = [f"{service}.{stack.region}.{stack.url_suffix}" for service in ("s3", "sns")]
    through_services = {"kms:CallerAccount": stack.account, "kms:ViaService": services}
    alarms = stack.format_arn(service="cloudwatch", resource="alarm:*")
    of_this_account = {"StringEquals": {"aws:SourceAccount": stack.account}, "ArnLike": {"aws:SourceArn": alarms}}
    statement = iam.PolicyStatement
    return [
        statement(
            sid="AdministerByIamPolicies", principals=[account], actions=list(_ADMINISTRATION), resources=everything
        ),
        statement(
            sid="UseThroughS3AndSnsByIamPolicies",
            principals=[account],
            actions=[READ, WRITE],
            resources=everything,
            conditions={"StringEquals": through_services},
        ),
        statement(
            sid="AlarmsOfThisAccount",
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=[READ, WRITE],
            resources=everything,
            conditions=of_this_account,
        ),
    ]
