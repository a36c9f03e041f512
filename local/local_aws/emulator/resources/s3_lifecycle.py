"""CloudFormation's lifecycle rules in the form that S3's API takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_aws.emulator.resources.base import ResourceFailedError

_KNOWN = frozenset(
    {
        "Id",
        "Status",
        "Prefix",
        "ExpirationInDays",
        "ExpirationDate",
        "ExpiredObjectDeleteMarker",
        "NoncurrentVersionExpiration",
        "AbortIncompleteMultipartUpload",
    }
)


def lifecycle_rules(configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules of a bucket's LifecycleConfiguration; a rule with a part that is not known here is refused."""
    return [_rule(index, rule) for index, rule in enumerate(configuration["Rules"])]


def _rule(index: int, rule: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(rule) - _KNOWN)
    if unknown:
        raise ResourceFailedError(f"a lifecycle rule must have members among {sorted(_KNOWN)}, got {unknown}")
    made: dict[str, Any] = {
        "ID": rule.get("Id", f"rule-{index}"),
        "Status": rule["Status"],
        "Filter": {"Prefix": rule.get("Prefix", "")},
    }
    expiration = {
        api: rule[name]
        for name, api in (
            ("ExpirationInDays", "Days"),
            ("ExpirationDate", "Date"),
            ("ExpiredObjectDeleteMarker", "ExpiredObjectDeleteMarker"),
        )
        if name in rule
    }
    if expiration:
        made["Expiration"] = expiration
    for name in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
        if name in rule:
            made[name] = rule[name]
    return made
