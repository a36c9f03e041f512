"""An AWS account in moto that has what the stack needs, and ways to break it."""
# boto3-stubs know only the services that the project installs them for
# pyright: reportUnknownMemberType=false, reportArgumentType=false, reportCallIssue=false, reportUnknownVariableType=false

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Self

from infra.config.images import image_uri
from preflight.__main__ import check_everything, make_target
from preflight.report import Check

REGION = "us-east-1"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
QUOTAS = {"ml.g5.2xlarge": 2, "ml.g5.xlarge": 2, "ml.g6.2xlarge": 0}
LISTING = {"sha": COMMIT, "siblings": [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}]}


class Account:
    """A boto3 session on moto. `answer`, `refuse` and `fail` replace what a service says."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.calls: set[str] = set()
        self.quotas: dict[str, float] = dict(QUOTAS)
        self.default_quotas: dict[str, float] = {}
        self.requests: list[dict[str, Any]] = []
        self._replies: dict[str, Callable[[], Any]] = {}
        self.answer("service-quotas.ListServiceQuotas", lambda: {"Quotas": _quotas(self.quotas)})
        self.answer("service-quotas.ListAWSDefaultServiceQuotas", lambda: {"Quotas": _quotas(self.default_quotas)})
        history = "service-quotas.ListRequestedServiceQuotaChangeHistoryByQuota"
        self.answer(history, lambda: {"RequestedQuotas": self.requests})

    def __enter__(self) -> Self:
        self.session.events.register("before-call", self._reply)
        return self

    def __exit__(self, *_: object) -> None:
        self.session.events.unregister("before-call", self._reply)

    def prepare(self) -> None:
        """Bootstrap the account and publish the container's image in it: moto does not look at `registryId`."""
        self.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")
        repository, _, tag = image_uri(REGION, "cuda").partition("/")[2].partition(":")
        ecr = self.client("ecr")
        ecr.create_repository(repositoryName=repository)
        ecr.put_image(repositoryName=repository, imageManifest=json.dumps(MANIFEST), imageTag=tag)
        self.calls.clear()

    def client(self, service: str) -> Any:
        """A client that shares the session's answers."""
        return self.session.client(service)

    def answer(self, operation: str, reply: Callable[[], Any]) -> None:
        """Answer `<service>.<Operation>`, or all of `<service>`, with what `reply` returns, or raise what it raises."""
        self._replies[operation] = lambda: (SimpleNamespace(status_code=200), {**reply(), "ResponseMetadata": {}})

    def refuse(self, operation: str, code: str, message: str = "no") -> None:
        """Answer with an error of the service."""
        error = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {}}
        self._replies[operation] = lambda: (SimpleNamespace(status_code=400), error)

    def fail(self, operation: str, error: Exception) -> None:
        """Raise `error` in place of sending the request."""

        def reply() -> Any:
            raise error

        self._replies[operation] = reply

    def check(self, **overrides: str) -> dict[str, Check]:
        """Run every check, with overrides of cdk.json; the rows by name."""
        target = make_target({"revision": COMMIT, **overrides}, session=self.session)
        rows = check_everything(target)
        names = [row.name for row in rows]
        assert len(set(names)) == len(names), names
        return dict(zip(names, rows, strict=True))

    def _reply(self, model: Any, **_: Any) -> Any:
        service = model.service_model.service_id.hyphenize()
        self.calls.add(model.name)
        reply = self._replies.get(service) or self._replies.get(f"{service}.{model.name}")
        return reply() if reply else None  # None: moto answers


class PrivateNetwork:
    """A VPC with two subnets in two zones, which share a route table, and a security group."""

    def __init__(self, account: Account) -> None:
        self.ec2 = account.client("ec2")
        self.vpc: str = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.table: str = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.subnets = [self.add_subnet("10.0.1.0/24", "a"), self.add_subnet("10.0.2.0/24", "b")]
        self.group = self.add_group("containers")

    @property
    def settings(self) -> dict[str, str]:
        """The overrides that put the containers into it."""
        return {"vpc_subnet_ids": ",".join(self.subnets), "vpc_security_group_ids": self.group}

    def add_subnet(self, cidr: str, zone: str) -> str:
        """Add a subnet that uses the route table."""
        subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr, AvailabilityZone=REGION + zone)["Subnet"]
        self.ec2.associate_route_table(RouteTableId=self.table, SubnetId=subnet["SubnetId"])
        return subnet["SubnetId"]

    def add_group(self, name: str, vpc: str | None = None) -> str:
        """Add a security group, which allows everything out and nothing in."""
        return self.ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc or self.vpc)["GroupId"]

    def add_s3_gateway(self, *tables: str) -> str:
        """Add S3's gateway endpoint to route tables."""
        name = f"com.amazonaws.{REGION}.s3"
        found = self.ec2.create_vpc_endpoint(
            VpcEndpointType="Gateway", VpcId=self.vpc, ServiceName=name, RouteTableIds=list(tables)
        )
        return found["VpcEndpoint"]["VpcEndpointId"]

    def add_interface(self, service: str, *, group: str, private_dns: bool = True) -> str:
        """Add an interface endpoint."""
        made = self.ec2.create_vpc_endpoint(
            VpcEndpointType="Interface",
            VpcId=self.vpc,
            ServiceName=f"com.amazonaws.{REGION}.{service}",
            SubnetIds=self.subnets,
            SecurityGroupIds=[group],
            PrivateDnsEnabled=private_dns,
        )
        return made["VpcEndpoint"]["VpcEndpointId"]

    def admit(self, group: str, **source: Any) -> None:
        """Let `source` in on port 443."""
        rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, **source}
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])

    def add_nat(self) -> str:
        """Add a NAT gateway and the default route to it."""
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        nat = self.ec2.create_nat_gateway(SubnetId=self.subnets[0], AllocationId=address)["NatGateway"]["NatGatewayId"]
        self.ec2.create_route(RouteTableId=self.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
        return nat


def deploy_endpoint(account: Account, instance_type: str, *, scaling: bool) -> None:
    """Answer for the endpoint that `make deploy` would have left.

    Not from moto: tests of the embedded SageMaker replace moto's endpoints in the same process.
    """
    variant = {"VariantName": "AllTraffic", "InstanceType": instance_type}
    endpoint = {"EndpointConfigName": "c", "EndpointStatus": "InService"}
    account.answer("sagemaker.DescribeEndpoint", lambda: endpoint)
    account.answer("sagemaker.DescribeEndpointConfig", lambda: {"ProductionVariants": [variant]})
    if scaling:
        account.client("application-autoscaling").register_scalable_target(
            ServiceNamespace="sagemaker",
            ResourceId="endpoint/musicgen-dev/variant/AllTraffic",
            ScalableDimension="sagemaker:variant:DesiredInstanceCount",
            MinCapacity=0,
            MaxCapacity=1,
        )


def _quotas(values: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {"QuotaName": f"{name} for endpoint usage", "QuotaCode": f"L-{index:08}", "Value": float(value)}
        for index, (name, value) in enumerate(values.items())
    ]


MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
    "config": {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": 1,
        "digest": "sha256:" + "0" * 64,
    },
    "layers": [],
}
