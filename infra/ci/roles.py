# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""A role of CI, and what it may do: deploy, ask the stack for music, read the stack and what it contains."""

from typing import Any

from aws_cdk import DefaultStackSynthesizer, Duration, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config import Config
from infra.constructs.iam import accept_wildcard

# CloudFormation shortens long names when it generates some from them: beyond this length only their beginning counts.
_MAX_UNSHORTENED = 22
_RESULTS = ("out/", "failures/", "audio/")
# The bootstrap roles that `cdk deploy` assumes for this project, which has files but no images and no lookups.
_BOOTSTRAP_ROLES = ("deploy-role", "file-publishing-role")
# Reading the configuration of the stack's resources, by the kind of resource that the actions take.
_READ_BUCKETS = (
    "s3:GetAccelerateConfiguration",
    "s3:GetAnalyticsConfiguration",
    "s3:GetBucketAbac",
    "s3:GetBucketCORS",
    "s3:GetBucketLogging",
    "s3:GetBucketMetadataTableConfiguration",
    "s3:GetBucketNotification",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetBucketWebsite",
    "s3:GetEncryptionConfiguration",
    "s3:GetIntelligentTieringConfiguration",
    "s3:GetInventoryConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetMetricsConfiguration",
    "s3:GetReplicationConfiguration",
    "s3:ListBucket",  # for HeadBucket; it also shows the names of objects
    "s3:ListTagsForResource",
)
_READ_FUNCTIONS = (
    "lambda:GetFunction",
    "lambda:GetFunctionCodeSigningConfig",
    "lambda:GetFunctionEventInvokeConfig",
    "lambda:GetFunctionRecursionConfig",
    "lambda:GetFunctionScalingConfig",
    "lambda:GetRuntimeManagementConfig",
)
_READ_ROLES = ("iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies")
_READ_POLICIES = ("iam:GetPolicy", "iam:GetPolicyVersion", "iam:ListEntitiesForPolicy")
_READ_TOPICS = (
    "sns:GetDataProtectionPolicy",
    "sns:GetTopicAttributes",
    "sns:ListSubscriptionsByTopic",
    "sns:ListTagsForResource",
)
_READ_SAGEMAKER = (
    "sagemaker:DescribeEndpoint",
    "sagemaker:DescribeEndpointConfig",
    "sagemaker:DescribeModel",
    "sagemaker:ListTags",
)
_READ_LOG_GROUPS = (
    "logs:DescribeIndexPolicies",
    "logs:DescribeLogGroups",
    "logs:GetDataProtectionPolicy",
    "logs:ListTagsForResource",
)
_READ_KEYS = ("kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags")
# These take no resource, or one whose name only the service knows.
_READ_ANY = (
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
    "application-autoscaling:DescribeScheduledActions",
    "application-autoscaling:ListTagsForResource",
    "cloudformation:DescribeStackDriftDetectionStatus",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:ListTagsForResource",
    "logs:DescribeResourcePolicies",
    "sns:GetSubscriptionAttributes",
)


class CiRole(iam.Role):
    """A role of CI with inline statements on what one stack is called."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        description: str,
        trusted_by: iam.WebIdentityPrincipal,
        environment: Config,
        max_session_duration: Duration | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description=description,
            assumed_by=trusted_by,
            max_session_duration=max_session_duration,
        )
        self._environment = environment

    def allow_deployments(self) -> None:
        """Allow to assume CDK's bootstrap roles, which may do the rest."""
        qualifier = self.node.try_get_context("@aws-cdk/core:bootstrapQualifier")
        qualifier = qualifier or DefaultStackSynthesizer.DEFAULT_QUALIFIER
        account, region = Stack.of(self).account, self._environment.region
        roles = [f"cdk-{qualifier}-{name}-{account}-{region}" for name in _BOOTSTRAP_ROLES]
        self.allow("sts:AssumeRole", resources=[self.arn("iam", "role", role, region="") for role in roles])

    def allow_smoke_test(self) -> None:
        """Allow what tools/smoke_test calls, on the names that the stack's resources will have.

        The stack's ClientPolicy allows the same and more, but exists only once the stack is deployed.
        """
        environment = self._environment
        self.allow("cloudformation:DescribeStacks", resources=[self.stack_arn()])
        self.allow("sagemaker:InvokeEndpointAsync", resources=[self.arn("sagemaker", "endpoint", environment.endpoint)])
        bucket = self.arn("s3", f"{_output_bucket(environment)}*", region="", account="")
        # Bucket names are global: without the condition, others could create a bucket that the pattern matches.
        own = {"StringEquals": {"aws:ResourceAccount": Stack.of(self).account}}
        self.allow("s3:GetObject", resources=[f"{bucket}/{prefix}*" for prefix in _RESULTS], conditions=own)
        # Without it S3 answers 403, not 404, for a result that is not there yet.
        under = {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in _RESULTS]}}
        self.allow("s3:ListBucket", resources=[bucket], conditions={**own, **under})
        if environment.encryption == "customer-managed":
            service = f"s3.{environment.region}.{Stack.of(self).url_suffix}"
            through_s3 = {
                "StringEquals": {"kms:ViaService": service},
                "StringLike": {"kms:EncryptionContext:aws:s3:arn": [bucket, f"{bucket}/*"]},
            }
            self.allow("kms:Decrypt", resources=[self.arn("kms", "key", "*")], conditions=through_s3)

    def allow_drift_detection(self) -> None:
        """Allow to read the stack, and each of its resources: CloudFormation detects drift as its caller.

        The actions are those that the published schema of each resource type names for its `read` handler; a test
        compares them with the deployed types. None reads an object, a message, a log line or a secret.
        """
        names, environment = _generated_names(self._environment), self._environment
        self.allow(
            "cloudformation:DescribeStackResourceDrifts",
            "cloudformation:DescribeStacks",
            "cloudformation:DetectStackDrift",
            "cloudformation:DetectStackResourceDrift",
            "cloudformation:GetTemplate",
            resources=[self.stack_arn()],
        )
        self.allow(*_READ_BUCKETS, resources=[self.arn("s3", f"{names.lower()}*", region="", account="")])
        self.allow(*_READ_FUNCTIONS, resources=[self.arn("lambda", f"function:{names}*")])
        self.allow(*_READ_ROLES, resources=[self.arn("iam", "role", f"{names}*", region="")])
        self.allow(*_READ_POLICIES, resources=[self.arn("iam", "policy", f"{names}*", region="")])
        self.allow(*_READ_TOPICS, resources=[self.arn("sns", f"{names}*")])
        # SageMaker's generated names begin with the logical id, not with the stack's name.
        sagemaker = [("endpoint", environment.endpoint), ("endpoint-config", "*"), ("model", "*")]
        self.allow(*_READ_SAGEMAKER, resources=[self.arn("sagemaker", kind, name) for kind, name in sagemaker])
        self.allow(*_READ_LOG_GROUPS, resources=[self.arn("logs", "log-group:*")])
        if environment.encryption == "customer-managed":
            self.allow(*_READ_KEYS, resources=[self.arn("kms", "key", "*")])
        self.allow(*_READ_ANY, resources=["*"])

    def allow(self, *actions: str, resources: list[str], conditions: dict[str, Any] | None = None) -> None:
        """Add a statement; the wildcards in its resources are accepted, as names end in what CloudFormation draws."""
        self.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=resources, conditions=conditions))
        for resource in resources:
            if "*" in resource:
                accept_wildcard(self, resource, "names of the stack's resources end in what CloudFormation draws")

    def stack_arn(self) -> str:
        """Return the ARN of every stack of the environment's name, whatever its id."""
        return self.arn("cloudformation", "stack", f"{self._environment.stack_name}/*")

    def arn(
        self, service: str, resource: str, name: str = "", *, region: str | None = None, account: str | None = None
    ) -> str:
        """Return the ARN of a resource, by default in the environment's region and the stack's account."""
        stack = Stack.of(self)
        region = self._environment.region if region is None else region
        account = stack.account if account is None else account
        path = f"{resource}/{name}" if name else resource
        return f"arn:{stack.partition}:{service}:{region}:{account}:{path}"


def _generated_names(environment: Config) -> str:
    """Return the beginning of the names that CloudFormation generates in the environment's stack."""
    stack = environment.stack_name
    return f"{stack}-" if len(stack) <= _MAX_UNSHORTENED else stack[:_MAX_UNSHORTENED]


def _output_bucket(environment: Config) -> str:
    """Return the beginning of the output bucket's name: the stack's, and as far as it fits, the logical id."""
    names = _generated_names(environment).lower()
    return f"{names}storageoutputbucket" if names.endswith("-") else names
