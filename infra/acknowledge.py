"""cdk-nag findings that are accepted, each on the construct that has it and with the reason."""

from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_iam as iam
from constructs import IConstruct

Grantee = iam.Role | iam.ManagedPolicy


def acknowledge(construct: IConstruct, findings: dict[str, str]) -> None:
    """Accept cdk-nag findings, `{"<rule>" or "<rule>[<finding>]": reason}`, on a construct and what it contains."""
    accepted = [Acknowledgment(id=finding, reason=reason) for finding, reason in findings.items()]
    Validations.of(construct).acknowledge(*accepted)


def accept_wildcard(grantee: Grantee, resource: str, reason: str) -> None:
    """Accept that statements of `grantee` name `resource`, an ARN with a wildcard, and no other one."""
    written = _as_cdk_nag_writes(Stack.of(grantee).resolve(resource))
    acknowledge(grantee, {f"AwsSolutions-IAM5[Resource::{written}]": reason})


def _as_cdk_nag_writes(value: Any) -> str:
    """A resolved ARN with `<Reference>` and `<Resource.Attribute>` in place of CloudFormation's functions."""
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return f"<{value['Ref']}>"
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    separator, parts = value["Fn::Join"]
    return separator.join(_as_cdk_nag_writes(part) for part in parts)
