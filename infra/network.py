"""The endpoint's containers in an existing private network."""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker

from infra.acknowledge import accept_wildcard
from infra.config import Config

_INTERFACES = "network-interface/*"
# What SageMaker asks for beside the interfaces ("Give SageMaker AI Hosted Endpoints Access to Resources in Your VPC").
_LOOK = (
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)


def vpc_config(config: Config) -> sagemaker.CfnModel.VpcConfigProperty | None:
    """The model's subnets and security groups; None where the containers run in SageMaker's own network."""
    if not config.vpc_subnet_ids:
        return None
    return sagemaker.CfnModel.VpcConfigProperty(
        subnets=list(config.vpc_subnet_ids), security_group_ids=list(config.vpc_security_group_ids)
    )


def allow_network_interfaces(role: iam.Role, config: Config) -> None:
    """Let SageMaker give each instance an interface in the subnets, with the security groups, and take it away."""
    if not config.vpc_subnet_ids:
        return
    stack = Stack.of(role)
    interfaces = stack.format_arn(service="ec2", resource=_INTERFACES)
    places = [
        *(stack.format_arn(service="ec2", resource=f"subnet/{subnet}") for subnet in config.vpc_subnet_ids),
        *(stack.format_arn(service="ec2", resource=f"security-group/{g}") for g in config.vpc_security_group_ids),
    ]
    _allow(role, "ec2:CreateNetworkInterface", resources=[interfaces, *places])
    _allow(
        role,
        "ec2:CreateNetworkInterfacePermission",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteNetworkInterfacePermission",
        resources=[interfaces],
    )
    _allow(role, *_LOOK, resources=["*"])
    accept_wildcard(role, interfaces, "interfaces are numbered when they are made")


def _allow(role: iam.Role, *actions: str, resources: list[str]) -> None:
    role.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=resources))
