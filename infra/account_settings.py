"""Settings: how the stack fits into an account that has rules of its own."""

from dataclasses import dataclass

from infra.errors import ConfigError
from infra.settings import matches, one_of, setting

_SUBNETS, _SECURITY_GROUPS = (2, 16), (1, 5)  # SageMaker's bounds; it wants subnets of two availability zones
_TAG = matches(r"(?![aA][wW][sS]:)[^=,]{1,128}=[^,]{0,256}", "`key=value` of up to 128 and 256 characters, not aws:")


@dataclass(frozen=True, kw_only=True)
class AccountSettings:
    """Encryption, network, permissions boundary and tags."""

    encryption: str = setting(
        "aws-managed",
        "Whose key encrypts buckets and topics: S3's own (topics: none of the account's), or one that the stack makes.",
        one_of("aws-managed", "customer-managed"),
    )
    vpc_subnet_ids: tuple[str, ...] = setting(
        (),
        "Existing subnets, in two availability zones or more, for the containers; empty: SageMaker's own network.",
        matches(r"subnet-([0-9a-f]{8}|[0-9a-f]{17})", "ids of 2 to 16 subnets"),
    )
    vpc_security_group_ids: tuple[str, ...] = setting(
        (),
        "Existing security groups for the containers; needed with `vpc_subnet_ids`.",
        matches(r"sg-([0-9a-f]{8}|[0-9a-f]{17})", "ids of 1 to 5 security groups"),
    )
    permissions_boundary: str = setting(
        "",
        "Name, with its path, of the account's managed policy that bounds every role of the stack; empty: none.",
        matches(r"([\w+=,.@/-]{1,512})?", "the name of a managed policy"),
    )
    tags: tuple[str, ...] = setting((), "Tags, `key=value`, for every resource that takes them.", _TAG)

    def check_network(self) -> None:
        """ConfigError unless there are either as many subnets and security groups as SageMaker takes, or none."""
        if not self.vpc_subnet_ids and not self.vpc_security_group_ids:
            return
        _check_count("vpc_subnet_ids", self.vpc_subnet_ids, _SUBNETS, "vpc_security_group_ids")
        _check_count("vpc_security_group_ids", self.vpc_security_group_ids, _SECURITY_GROUPS, "vpc_subnet_ids")


def _check_count(name: str, given: tuple[str, ...], bounds: tuple[int, int], other: str) -> None:
    low, high = bounds
    if not low <= len(set(given)) <= high:
        raise ConfigError(f"{name} must be {low} to {high} different ids where {other} are given, got {list(given)}")
