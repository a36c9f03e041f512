# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""The role that the endpoint's containers run under."""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.acknowledge import accept_wildcard
from infra.config import Config
from infra.images import registry_account, repository_name
from infra.network import allow_network_interfaces


class ExecutionRole(iam.Role):
    """What SageMaker may do for the endpoint, and nothing that another endpoint of the account could borrow."""

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
        self._allow_image(stack, config.region)
        self._allow_logs(stack, config.endpoint)
        self._allow_metrics()
        allow_network_interfaces(self, config)

    def _allow_image(self, stack: Stack, region: str) -> None:
        repository = stack.format_arn(
            service="ecr", account=registry_account(region), resource="repository", resource_name=repository_name()
        )
        pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        self._allow(*pull, resource=repository)
        self._allow("ecr:GetAuthorizationToken", resource="*")
        accept_wildcard(
            self, "*", "ecr:GetAuthorizationToken, cloudwatch:PutMetricData and ec2:Describe… take no resource"
        )

    def _allow_logs(self, stack: Stack, endpoint: str) -> None:
        """Write to the endpoint's log group, but not make it: it would come back after `cdk destroy`."""
        group = stack.format_arn(service="logs", resource=f"log-group:/aws/sagemaker/Endpoints/{endpoint}:*")
        self._allow("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents", resource=group)
        accept_wildcard(self, group, "the streams of the endpoint's one log group; each instance names its own")

    def _allow_metrics(self) -> None:
        self.add_to_policy(
            iam.PolicyStatement(
                actions=["cloudwatch:PutMetricData"],
                resources=["*"],
                conditions={"StringEquals": {"cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/Endpoints"]}},
            )
        )

    def _allow(self, *actions: str, resource: str) -> None:
        self.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=[resource]))
