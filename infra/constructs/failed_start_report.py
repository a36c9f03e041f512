# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""Keeps the reason why the container of a new stack did not start, which the rollback would delete."""

from aws_cdk import CustomResource, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.config import Config
from infra.constructs.async_endpoint import AsyncEndpoint
from infra.constructs.log_groups import removal, retention
from infra.constructs.staging_lambda_code import ARCHITECTURE, RUNTIME, SOURCES


class FailedStartReport(Construct):
    """`Custom::EndpointLogs`, whose deletion fails while the creation of a stack whose container logged is rolled back.

    The events then show the container's last errors, and the log group stays with the stack in ROLLBACK_FAILED. Both
    `cdk destroy` and the next `cdk deploy` delete such a stack.
    """

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, endpoint: AsyncEndpoint) -> None:
        super().__init__(scope, construct_id)
        log_group = logs.LogGroup(self, "Logs", retention=retention(config), removal_policy=removal(config))
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        for actions, resource in (
            (["logs:CreateLogStream", "logs:PutLogEvents"], log_group.log_group_arn),
            (["logs:DescribeLogStreams", "logs:GetLogEvents"], endpoint.log_group.log_group_arn),
            (["cloudformation:DescribeStacks"], Stack.of(self).stack_id),
        ):
            iam.Grant.add_to_principal(grantee=role, actions=actions, resource_arns=[resource])
        function = lambda_.Function(
            self,
            "Function",
            description="Reports why the endpoint of a new stack did not start (Custom::EndpointLogs)",
            runtime=RUNTIME,
            architecture=ARCHITECTURE,
            handler="index.handler",
            code=lambda_.Code.from_inline((SOURCES / "keep_endpoint_logs" / "index.py").read_text(encoding="utf-8")),
            role=role,
            log_group=log_group,
            timeout=Duration.minutes(1),
        )
        self.resource = CustomResource(
            self,
            "Resource",
            resource_type="Custom::EndpointLogs",
            service_token=function.function_arn,
            service_timeout=Duration.minutes(5),
            properties={"LogGroupName": endpoint.log_group.log_group_name},
        )
        self.resource.node.add_dependency(function, role, log_group)
        endpoint.endpoint.node.add_dependency(self.resource)
