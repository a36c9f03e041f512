"""The endpoint's containers in an existing private network."""

from aws_cdk import Stack
from aws_cdk import aws_sagemaker as sagemaker

from infra.config import Config
from infra.constructs.iam import ExecutionRole, accept_wildcard


def vpc_config(config: Config) -> sagemaker.CfnModel.VpcConfigProperty | None:
    """Return the model's subnets and security groups; None if the containers run in SageMaker's own network."""
    if not config.vpc_subnet_ids:
        return None
    return sagemaker.CfnModel.VpcConfigProperty(
        subnets=list(config.vpc_subnet_ids), security_group_ids=list(config.vpc_security_group_ids)
    )


def allow_network_interfaces(role: ExecutionRole, config: Config) -> None:
    """Allow SageMaker to create and delete each instance's interface, in these subnets with these security groups."""
    if not config.vpc_subnet_ids:
        return
    stack = Stack.of(role)
    interfaces = stack.format_arn(service="ec2", resource="network-interface/*")
    subnets = [stack.format_arn(service="ec2", resource=f"subnet/{subnet}") for subnet in config.vpc_subnet_ids]
    groups = [stack.format_arn(service="ec2", resource=f"security-group/{g}") for g in config.vpc_security_group_ids]
    role.allow("ec2:CreateNetworkInterface", resources=[interfaces, *subnets, *groups])
    role.allow(
        "ec2:CreateNetworkInterfacePermission",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteNetworkInterfacePermission",
        resources=[interfaces],
    )
    # See "Give SageMaker AI Hosted Endpoints Access to Resources in Your VPC" in SageMaker's guide.
    role.allow(
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        resources=["*"],
    )
    accept_wildcard(role, interfaces, "an interface's id is only known once it exists")
