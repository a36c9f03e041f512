"""The private network: subnets, addresses, security groups, and paths to the services that the containers call."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from preflight.checks import Target
from preflight.report import Check, Status, failed, passed, unknown

_HTTPS = 443
# Of training instances, on the page about hosting: https://docs.aws.amazon.com/sagemaker/latest/dg/host-vpc.html
_ADDRESSES_PER_INSTANCE = 2
_ANYWHERE = "0.0.0.0/0"
# What SageMaker's hosts call for the containers. AWS documents a path from the subnets for S3 alone.
_HOST_SERVICES = {
    "logs": "container logs",
    "sns": "notifications",
    "ecr.api": "the image",
    "ecr.dkr": "the image",
}

Resource = Mapping[str, Any]  # as EC2 describes it


@dataclass(frozen=True)
class Network:
    """What EC2 knows of the VPC. `tables` holds each subnet's route table, `groups` the containers' groups."""

    region: str
    vpc: str
    subnets: Sequence[Resource]
    groups: Sequence[Resource]
    tables: Mapping[str, Resource]
    endpoints: Sequence[Resource]
    endpoint_groups: Mapping[str, Resource]


def check_network(target: Target) -> list[Check]:
    """Check the configured subnets and security groups; one row if the containers run in SageMaker's own network."""
    config = target.config
    if not config.vpc_subnet_ids:
        return [passed("private network", "none configured: the containers run in SageMaker's own network")]
    ec2 = target.client("ec2")
    subnets = _described(ec2, "describe_subnets", "Subnets", "subnet-id", config.vpc_subnet_ids)
    rows = [_check_subnets(config.vpc_subnet_ids, subnets, config.region)]
    if rows[0].status is Status.FAIL:
        return rows
    vpc = subnets[0]["VpcId"]
    groups = _described(ec2, "describe_security_groups", "SecurityGroups", "group-id", config.vpc_security_group_ids)
    rows += [
        _check_zones(subnets),
        _check_addresses(subnets, config.required_quota),
        _check_groups(config.vpc_security_group_ids, groups, vpc, config.region),
    ]
    network = _read_network(ec2, config.region, vpc, subnets, groups)
    rows.append(_check_path(network, "s3", required=True, used_for="the model, inputs and audio"))
    rows += [_check_path(network, name, required=False, used_for=used) for name, used in _HOST_SERVICES.items()]
    if config.token_secret_arn:
        text = "no path needed: the staging Lambda reads the token, and runs outside this network"
        rows.append(passed("path to secretsmanager", text))
    return rows


def _described(ec2: Any, operation: str, key: str, by: str, values: Iterable[str]) -> list[Resource]:
    """Return what exists of `values`; a filter leaves out the others, where ids would be an error."""
    pages = ec2.get_paginator(operation).paginate(Filters=[{"Name": by, "Values": list(values)}])
    return [item for page in pages for item in page[key]]


def _read_network(ec2: Any, region: str, vpc: str, subnets: Sequence[Resource], groups: Sequence[Resource]) -> Network:
    tables = _described(ec2, "describe_route_tables", "RouteTables", "vpc-id", [vpc])
    endpoints = _described(ec2, "describe_vpc_endpoints", "VpcEndpoints", "vpc-id", [vpc])
    ids = {group["GroupId"] for endpoint in endpoints for group in _groups_of(endpoint)}
    found = _described(ec2, "describe_security_groups", "SecurityGroups", "group-id", sorted(ids)) if ids else []
    of_subnet = {subnet["SubnetId"]: _route_table(tables, subnet["SubnetId"]) for subnet in subnets}
    by_id = {group["GroupId"]: group for group in found}
    return Network(region, vpc, subnets, groups, of_subnet, endpoints, by_id)


def _route_table(tables: Sequence[Resource], subnet: str) -> Resource:
    """Return the table associated with the subnet, else the VPC's main one."""
    own = [table for table in tables if any(item.get("SubnetId") == subnet for item in table["Associations"])]
    main = [table for table in tables if any(item.get("Main") for item in table["Associations"])]
    return [*own, *main][0]  # every VPC has a main one


def _groups_of(endpoint: Resource) -> Sequence[Resource]:
    return endpoint.get("Groups") or ()  # a gateway endpoint has none


def _check_subnets(wanted: Sequence[str], subnets: Sequence[Resource], region: str) -> Check:
    missing = sorted(set(wanted) - {subnet["SubnetId"] for subnet in subnets})
    if missing:
        remedy = f"set vpc_subnet_ids to subnets of this account: aws ec2 describe-subnets --region {region}"
        return failed("subnets", f"must exist in {region}, do not: {', '.join(missing)}", remedy)
    vpcs = sorted({subnet["VpcId"] for subnet in subnets})
    if len(vpcs) > 1:
        return failed("subnets", f"must be in one VPC, are in {', '.join(vpcs)}", "set vpc_subnet_ids to one VPC's")
    return passed("subnets", f"{len(subnets)} in {vpcs[0]}")


def _check_zones(subnets: Sequence[Resource]) -> Check:
    zones = sorted({subnet["AvailabilityZone"] for subnet in subnets})
    if len(zones) < 2:
        remedy = "add a subnet in another zone to vpc_subnet_ids; SageMaker wants two even for one instance"
        return failed("availability zones", f"must be at least 2, got {', '.join(zones)}", remedy)
    return passed("availability zones", ", ".join(zones))


def _check_addresses(subnets: Sequence[Resource], instances: int) -> Check:
    """Check the sum, as SageMaker chooses the subnets, and that no subnet is full."""
    free = {subnet["SubnetId"]: int(subnet["AvailableIpAddressCount"]) for subnet in subnets}
    needed, shown = _ADDRESSES_PER_INSTANCE * instances, ", ".join(f"{name}: {count}" for name, count in free.items())
    full = [name for name, count in free.items() if count < _ADDRESSES_PER_INSTANCE]
    if full or sum(free.values()) < needed:
        detail = f"{needed} needed ({_ADDRESSES_PER_INSTANCE} for each of {instances} instances), free: {shown}"
        return failed("free addresses", detail, "delete unused network interfaces there, or choose larger subnets")
    return passed("free addresses", f"{needed} needed, free: {shown}")


def _check_groups(wanted: Sequence[str], groups: Sequence[Resource], vpc: str, region: str) -> Check:
    name, missing = "security groups", sorted(set(wanted) - {group["GroupId"] for group in groups})
    if missing:
        return failed(name, f"must exist, do not: {', '.join(missing)}", f"choose groups of {vpc}")
    foreign = [group["GroupId"] for group in groups if group["VpcId"] != vpc]
    if foreign:
        return failed(name, f"must be in the subnets' {vpc}, are not: {', '.join(foreign)}", f"choose groups of {vpc}")
    if not any(_covers_https(rule) for group in groups for rule in group["IpPermissionsEgress"]):
        command = f"aws ec2 authorize-security-group-egress --region {region} --group-id {wanted[0]}"
        remedy = f"{command} --protocol tcp --port 443 --cidr 0.0.0.0/0"
        return failed(name, "none allows outbound port 443, so the containers reach no service", remedy)
    return passed(name, f"{', '.join(wanted)} in {vpc}, outbound port 443 allowed")


def _covers_https(rule: Resource) -> bool:
    if rule["IpProtocol"] == "-1":
        return True
    return rule["IpProtocol"] in ("tcp", "6") and rule["FromPort"] <= _HTTPS <= rule["ToPort"]


def _check_path(network: Network, service: str, *, required: bool, used_for: str) -> Check:
    """Check that every subnet has a path to `service`: an endpoint of the VPC, or a route out of it."""
    name = f"path to {service}"
    paths = {subnet["SubnetId"]: _path(network, subnet, service) for subnet in network.subnets}
    without = [subnet for subnet, path in paths.items() if path is None]
    if not without:
        text = f"{used_for}: {', '.join(dict.fromkeys(str(path) for path in paths.values()))}"
        if any(str(path).startswith("route to") for path in paths.values()):
            return unknown(name, f"{text}; what lies behind it is not visible")
        return passed(name, text)
    hint = _unusable(network, service)
    detail = f"no endpoint and no NAT route for {service} from {', '.join(without)}{hint}"
    if required:
        return failed(name, f"{detail}: needed for {used_for}", _create_endpoint(network, service, without))
    why = f"for {used_for} SageMaker's hosts call it, not the container, and AWS documents no path from the subnets"
    remedy = f"if a deployment shows that it is needed: {_create_endpoint(network, service, without)}"
    return unknown(name, f"{detail}; {why}", remedy)


def _path(network: Network, subnet: Resource, service: str) -> str | None:
    """Return how the subnet reaches `service`; None if it does not."""
    table = network.tables[subnet["SubnetId"]]
    for endpoint in _endpoints_for(network, service):
        if endpoint["VpcEndpointType"] == "Gateway":
            if table["RouteTableId"] in endpoint.get("RouteTableIds", []):
                return f"gateway {endpoint['VpcEndpointId']}"
        elif endpoint.get("PrivateDnsEnabled") and _admits(network, endpoint, subnet):
            return f"interface {endpoint['VpcEndpointId']}"
    for route in table["Routes"]:
        if route.get("DestinationCidrBlock") == _ANYWHERE and route.get("State", "active") == "active":
            return _way_out(route)
    return None


def _way_out(route: Resource) -> str | None:
    """Return what a default route leads to; None for an internet gateway: the interfaces have no public address."""
    if nat := route.get("NatGatewayId"):
        return f"NAT {nat}"
    others = ("TransitGatewayId", "NetworkInterfaceId", "InstanceId", "VpcPeeringConnectionId", "GatewayId")
    hop = next((route[key] for key in others if route.get(key)), "")
    return f"route to {hop}" if hop and not hop.startswith("igw-") else None


def _endpoints_for(network: Network, service: str) -> list[Resource]:
    """Return the VPC's endpoints for `service`; the name's beginning differs in China."""
    suffix = f".{network.region}.{service}"
    return [
        endpoint
        for endpoint in network.endpoints
        if endpoint["ServiceName"].endswith(suffix) and endpoint["State"].lower() == "available"
    ]


def _admits(network: Network, endpoint: Resource, subnet: Resource) -> bool:
    """Return whether the interface endpoint's groups let the containers in on port 443."""
    ours = {group["GroupId"] for group in network.groups}
    source = ip_network(subnet["CidrBlock"])
    for group in _groups_of(endpoint):
        for rule in network.endpoint_groups[group["GroupId"]]["IpPermissions"]:
            groups = {pair["GroupId"] for pair in rule.get("UserIdGroupPairs", [])}
            ranges = [ip_network(item["CidrIp"], strict=False) for item in rule.get("IpRanges", [])]
            if _covers_https(rule) and (groups & ours or any(source.subnet_of(cidr) for cidr in ranges)):  # pyright: ignore[reportArgumentType] - both are IPv4
                return True
    return False


def _unusable(network: Network, service: str) -> str:
    """Return why an interface endpoint that exists does not count, or an empty string."""
    for endpoint in _endpoints_for(network, service):
        if endpoint["VpcEndpointType"] == "Gateway":
            return f" ({endpoint['VpcEndpointId']} is not in their route tables)"
        if not endpoint.get("PrivateDnsEnabled"):
            return f" ({endpoint['VpcEndpointId']} has no private DNS)"
        return f" (the groups of {endpoint['VpcEndpointId']} do not admit the containers on port 443)"
    return ""


def _create_endpoint(network: Network, service: str, subnets: Sequence[str]) -> str:
    start = f"aws ec2 create-vpc-endpoint --region {network.region} --vpc-id {network.vpc}"
    name = f"--service-name com.amazonaws.{network.region}.{service}"
    if service == "s3":
        tables = sorted({network.tables[subnet]["RouteTableId"] for subnet in subnets})
        return f"{start} {name} --vpc-endpoint-type Gateway --route-table-ids {' '.join(tables)}    # free of charge"
    groups = " ".join(group["GroupId"] for group in network.groups)
    kind = f"--vpc-endpoint-type Interface --subnet-ids {' '.join(subnets)} --security-group-ids {groups}"
    return f"{start} {name} {kind}    # about $7 a month and zone"
