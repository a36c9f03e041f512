"""A private network: healthy with a gateway, with interfaces and with NAT, and each fault."""

import pytest

from preflight.report import Check, Status
from tests.preflight.account import Account, PrivateNetwork


@pytest.fixture
def network(account: Account) -> PrivateNetwork:
    """Two subnets without any way out."""
    return PrivateNetwork(account)


def rows_of(account: Account, network: PrivateNetwork, **overrides: str) -> dict[str, Check]:
    rows = account.check(hub_endpoint="http://127.0.0.1:9", **{**network.settings, **overrides})
    assert "unexpected" not in rows.get("private network", rows["weights"]).detail
    return rows


def test_a_gateway_for_s3_is_all_that_is_documented(account: Account, network: PrivateNetwork) -> None:
    gateway = network.add_s3_gateway(network.table)
    rows = rows_of(account, network)
    names = ["subnets", "availability zones", "free addresses", "security groups", "path to s3"]
    assert [rows[name].status for name in names] == [Status.PASS] * 5
    assert gateway in rows["path to s3"].detail
    hosts = [rows[f"path to {name}"] for name in ("logs", "sns", "ecr.api", "ecr.dkr")]
    assert {row.status for row in hosts} == {Status.UNKNOWN}
    assert all("SageMaker's hosts call it" in row.detail and "create-vpc-endpoint" in row.remedy for row in hosts)


def test_no_way_to_s3_fails_with_the_command_that_makes_one(account: Account, network: PrivateNetwork) -> None:
    row = rows_of(account, network)["path to s3"]
    assert row.status is Status.FAIL and all(subnet in row.detail for subnet in network.subnets)
    assert f"--vpc-id {network.vpc} --service-name com.amazonaws.us-east-1.s3" in row.remedy
    assert f"--vpc-endpoint-type Gateway --route-table-ids {network.table}" in row.remedy


def test_a_gateway_in_another_route_table_fails(account: Account, network: PrivateNetwork) -> None:
    gateway = network.add_s3_gateway()
    row = rows_of(account, network)["path to s3"]
    assert row.status is Status.FAIL and f"{gateway} is not in their route tables" in row.detail


def test_a_nat_gateway_leads_everywhere(account: Account, network: PrivateNetwork) -> None:
    nat = network.add_nat()
    rows = rows_of(account, network)
    paths = [row for name, row in rows.items() if name.startswith("path to")]
    assert len(paths) == 5
    assert all(row.status is Status.PASS and nat in row.detail for row in paths)


def test_an_internet_gateway_does_not_help_as_the_containers_have_no_public_address(
    account: Account, network: PrivateNetwork
) -> None:
    gateway = network.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    network.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=network.vpc)
    network.ec2.create_route(RouteTableId=network.table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    assert rows_of(account, network)["path to s3"].status is Status.FAIL


def test_what_lies_behind_another_hop_is_not_known(account: Account, network: PrivateNetwork) -> None:
    transit = network.ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    network.ec2.create_route(RouteTableId=network.table, DestinationCidrBlock="0.0.0.0/0", TransitGatewayId=transit)
    row = rows_of(account, network)["path to s3"]
    assert row.status is Status.UNKNOWN and f"route to {transit}" in row.detail


def test_interface_endpoints_that_admit_the_containers_pass(account: Account, network: PrivateNetwork) -> None:
    group = network.add_group("endpoints")
    network.admit(group, UserIdGroupPairs=[{"GroupId": network.group}])
    services = ("s3", "logs", "sns", "ecr.api", "ecr.dkr")
    made = {service: network.add_interface(service, group=group) for service in services}
    rows = rows_of(account, network)
    for service, endpoint in made.items():
        row = rows[f"path to {service}"]
        assert row.status is Status.PASS and f"interface {endpoint}" in row.detail


def test_an_interface_endpoint_may_admit_the_subnets_addresses(account: Account, network: PrivateNetwork) -> None:
    group = network.add_group("endpoints")
    network.admit(group, IpRanges=[{"CidrIp": "10.0.0.0/16"}])
    network.add_interface("s3", group=group)
    assert rows_of(account, network)["path to s3"].status is Status.PASS


def test_an_interface_endpoint_that_admits_nobody_fails(account: Account, network: PrivateNetwork) -> None:
    endpoint = network.add_interface("s3", group=network.add_group("endpoints"))
    row = rows_of(account, network)["path to s3"]
    assert row.status is Status.FAIL and f"the groups of {endpoint} do not admit" in row.detail


def test_an_interface_endpoint_without_private_dns_fails(account: Account, network: PrivateNetwork) -> None:
    group = network.add_group("endpoints")
    network.admit(group, IpRanges=[{"CidrIp": "10.0.0.0/16"}])
    network.add_interface("s3", group=group, private_dns=False)
    row = rows_of(account, network)["path to s3"]
    assert row.status is Status.FAIL and "has no private DNS" in row.detail


def test_the_token_needs_no_path(account: Account, network: PrivateNetwork) -> None:
    arn = account.client("secretsmanager").create_secret(Name="t", SecretString="hf_12345678")["ARN"]
    row = rows_of(account, network, token_secret_arn=arn)["path to secretsmanager"]
    assert row.status is Status.PASS and "outside this network" in row.detail


def test_subnets_that_do_not_exist_fail_by_name(account: Account, network: PrivateNetwork) -> None:
    missing = "subnet-0123456789abcdef0"
    rows = rows_of(account, network, vpc_subnet_ids=f"{network.subnets[0]},{missing}")
    assert rows["subnets"].status is Status.FAIL and missing in rows["subnets"].detail
    assert network.subnets[0] not in rows["subnets"].detail
    assert "path to s3" not in rows


def test_subnets_of_two_networks_fail(account: Account, network: PrivateNetwork) -> None:
    other = PrivateNetwork(account)
    rows = rows_of(account, network, vpc_subnet_ids=f"{network.subnets[0]},{other.subnets[1]}")
    assert rows["subnets"].status is Status.FAIL and "must be in one VPC" in rows["subnets"].detail


def test_one_availability_zone_fails(account: Account, network: PrivateNetwork) -> None:
    second = network.add_subnet("10.0.3.0/24", "a")
    row = rows_of(account, network, vpc_subnet_ids=f"{network.subnets[0]},{second}")["availability zones"]
    assert row.status is Status.FAIL and "us-east-1a" in row.detail


def test_too_few_addresses_for_an_update_fail(account: Account, network: PrivateNetwork) -> None:
    small = [network.add_subnet("10.0.4.0/28", "a"), network.add_subnet("10.0.5.0/28", "b")]
    fits = rows_of(account, network, vpc_subnet_ids=",".join(small), max_capacity="10")["free addresses"]
    row = rows_of(account, network, vpc_subnet_ids=",".join(small), max_capacity="11")["free addresses"]
    assert fits.status is Status.PASS
    assert row.status is Status.FAIL and "24 needed (2 for each of 12 instances)" in row.detail


def test_security_groups_that_do_not_exist_fail_by_name(account: Account, network: PrivateNetwork) -> None:
    row = rows_of(account, network, vpc_security_group_ids="sg-0123456789abcdef0")["security groups"]
    assert row.status is Status.FAIL and "sg-0123456789abcdef0" in row.detail


def test_a_security_group_of_another_network_fails(account: Account, network: PrivateNetwork) -> None:
    other = PrivateNetwork(account)
    row = rows_of(account, network, vpc_security_group_ids=f"{network.group},{other.group}")["security groups"]
    assert row.status is Status.FAIL and other.group in row.detail and network.group not in row.detail


def test_security_groups_without_outbound_https_fail(account: Account, network: PrivateNetwork) -> None:
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    network.ec2.revoke_security_group_egress(GroupId=network.group, IpPermissions=everything)
    row = rows_of(account, network)["security groups"]
    assert row.status is Status.FAIL and "outbound port 443" in row.detail
    assert f"authorize-security-group-egress --region us-east-1 --group-id {network.group}" in row.remedy


def test_a_network_that_may_not_be_described_is_not_known(account: Account, network: PrivateNetwork) -> None:
    account.refuse("ec2.DescribeSubnets", "UnauthorizedOperation")
    row = rows_of(account, network)["private network"]
    assert row.status is Status.UNKNOWN and "ec2:DescribeSubnets is denied" in row.detail
