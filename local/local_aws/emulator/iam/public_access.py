"""Whether a bucket policy is public, and what S3 Block Public Access then refuses.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (policies are JSON)

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from moto.s3.models import FakeBucket

from local_aws.emulator.iam.policies import statements_of

# "To be considered non-public, a bucket policy must grant access only to fixed values for one or more of" these.
_LIMITING_KEYS = frozenset(
    {
        "aws:principalorgid",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceip",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:userid",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    }
)
_LIMITING_OPERATORS = frozenset({"stringequals", "stringlike", "arnequals", "arnlike", "ipaddress"})
_WIDEST_PREFIX = {4: 8, 6: 32}


def is_public(document: str | bytes | Mapping[str, Any]) -> bool:
    """Return whether any statement of a bucket policy grants access to the public."""
    return any(
        statement.get("Effect") == "Allow"
        and not _names_fixed_principals(statement.get("Principal"))
        and not any(_limits(*condition) for condition in _conditions(statement))
        for statement in statements_of(document)
    )


def refuses_policy(bucket: FakeBucket, document: str | bytes) -> bool:
    """Return whether BlockPublicPolicy refuses this policy for the bucket."""
    return _enabled(bucket, "block_public_policy") and is_public(document)


def refuses_public(bucket: FakeBucket) -> bool:
    """Return whether RestrictPublicBuckets refuses those outside of the account, whatever the bucket's policy says."""
    return _enabled(bucket, "restrict_public_buckets") and bool(bucket.policy) and is_public(bucket.policy)


def refuses_public_acls(bucket: FakeBucket) -> bool:
    """Return whether BlockPublicAcls refuses public access control lists."""
    return _enabled(bucket, "block_public_acls")


def _enabled(bucket: FakeBucket, setting: str) -> bool:
    block: Any = bucket.public_access_block
    return block is not None and str(getattr(block, setting)).lower() == "true"


def _names_fixed_principals(principal: Any) -> bool:
    """Return whether all principals are accounts, users, roles or services without a wildcard."""
    if not isinstance(principal, Mapping):  # "*", or NotPrincipal
        return False
    return all(
        kind in ("AWS", "Service", "CanonicalUser") and all(_is_fixed(value) for value in _as_list(values))
        for kind, values in principal.items()
    )


def _conditions(statement: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for operator, keys in (statement.get("Condition") or {}).items():
        for key, values in keys.items():
            yield operator.lower(), key.lower(), _as_list(values)


def _limits(operator: str, key: str, values: list[str]) -> bool:
    if operator not in _LIMITING_OPERATORS or key not in _LIMITING_KEYS:
        return False
    return all(_is_narrow(value) if key == "aws:sourceip" else _is_fixed(value) for value in values)


def _is_fixed(value: str) -> bool:
    return not any(mark in value for mark in ("*", "?", "${"))


def _is_narrow(value: str) -> bool:
    """Return whether a range of addresses is at most /8 wide for IPv4 and /32 for IPv6; no private range is wider."""
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return network.prefixlen >= _WIDEST_PREFIX[network.version]


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])
