# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""IAM: the endpoint's execution role, the client's policy, exact S3 statements, and accepted cdk-nag findings."""

from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct, IConstruct

from infra.config import Config
from infra.config.images import REGISTRY_ACCOUNTS, REPOSITORY

Grantee = iam.Role | iam.ManagedPolicy


class ClientAccess(Construct):
    """A policy to attach to a client's role, for example the role of a Studio domain or notebook."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.policy = iam.ManagedPolicy(
            self, "Policy", description="Send prompts to the MusicGen endpoint and fetch what it makes"
        )


class ExecutionRole(iam.Role):
    """The role of the endpoint's containers, limited to what this endpoint needs."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config) -> None:
        stack = Stack.of(scope)
        super().__init__(
            scope,
            construct_id,
            description="Runs the MusicGen endpoint's containers",
            # Asynchronous inference assumes the role for neither a model's nor an endpoint's ARN: hence the wildcard.
            assumed_by=iam.ServicePrincipal(
                "sagemaker.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": stack.account},
                    "ArnLike": {"aws:SourceArn": stack.format_arn(service="sagemaker", resource="*")},
                },
            ),
        )
        image = stack.format_arn(
            service="ecr",
            account=REGISTRY_ACCOUNTS[config.region],
            resource="repository",
            resource_name=REPOSITORY,
        )
        self.allow(
            "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", resources=[image]
        )
        self.allow("ecr:GetAuthorizationToken", resources=["*"])
        accept_wildcard(
            self, "*", "ecr:GetAuthorizationToken, cloudwatch:PutMetricData and ec2:Describe… take no resource"
        )
        # Not logs:CreateLogGroup: the log group would reappear after `cdk destroy`.
        streams = stack.format_arn(service="logs", resource=f"log-group:/aws/sagemaker/Endpoints/{config.endpoint}:*")
        self.allow("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents", resources=[streams])
        accept_wildcard(self, streams, "the streams of the endpoint's one log group; each instance names its own")
        namespaces = ["AWS/SageMaker", "/aws/sagemaker/Endpoints"]
        self.allow(
            "cloudwatch:PutMetricData",
            resources=["*"],
            conditions={"StringEquals": {"cloudwatch:namespace": namespaces}},
        )

    def allow(self, *actions: str, resources: list[str], conditions: dict[str, Any] | None = None) -> None:
        """Add a statement to the role's policy."""
        self.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=resources, conditions=conditions))


def allow_objects(grantee: Grantee, bucket: s3.IBucket, prefix: str, *actions: str) -> None:
    """Allow actions on the objects under a prefix, which ends in a slash."""
    resource = bucket.arn_for_objects(f"{prefix}*")
    iam.Grant.add_to_principal(grantee=grantee, actions=list(actions), resource_arns=[resource])
    accept_wildcard(grantee, resource, f"keys are chosen at run time; the wildcard ends at {prefix}")


def allow_listing(grantee: Grantee, bucket: s3.IBucket, *prefixes: str) -> None:
    """Allow ListBucket under the prefixes.

    Without it S3 answers 403, not 404, for a missing key. In that case S3 takes the requested key as `s3:prefix`
    (https://github.com/ceph/ceph/pull/68577), so the condition applies there too.
    """
    iam.Grant.add_to_principal(
        grantee=grantee,
        actions=["s3:ListBucket"],
        resource_arns=[bucket.bucket_arn],
        conditions={"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}},
    )


def acknowledge(construct: IConstruct, findings: dict[str, str]) -> None:
    """Accept cdk-nag findings, `{"<rule>" or "<rule>[<finding>]": reason}`, on a construct and its children."""
    accepted = [Acknowledgment(id=finding, reason=reason) for finding, reason in findings.items()]
    Validations.of(construct).acknowledge(*accepted)


def accept_wildcard(grantee: Grantee, resource: str, reason: str) -> None:
    """Accept that statements of `grantee` name `resource`, an ARN with a wildcard, and no other wildcard."""
    finding = _in_cdk_nags_notation(Stack.of(grantee).resolve(resource))
    acknowledge(grantee, {f"AwsSolutions-IAM5[Resource::{finding}]": reason})


def _in_cdk_nags_notation(value: Any) -> str:
    """Return a resolved ARN with `<Reference>` and `<Resource.Attribute>` in place of CloudFormation's functions."""
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return f"<{value['Ref']}>"
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    separator, parts = value["Fn::Join"]
    return separator.join(_in_cdk_nags_notation(part) for part in parts)
