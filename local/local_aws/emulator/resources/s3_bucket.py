"""AWS::S3::Bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, require_known
from local_aws.emulator.resources.conform import call
from local_aws.emulator.resources.s3_lifecycle import lifecycle_rules


@dataclass(frozen=True)
class _Setting:
    """How one property reaches S3: the call that sets it, its parameters, and the call that removes it."""

    put: str
    parameters: Callable[[Any], dict[str, Any]]
    remove: str | None


_SETTINGS: Mapping[str, _Setting] = {
    "BucketEncryption": _Setting(
        "PutBucketEncryption",
        lambda value: {"ServerSideEncryptionConfiguration": {"Rules": _encryption_rules(value)}},
        "DeleteBucketEncryption",
    ),
    "CorsConfiguration": _Setting("PutBucketCors", lambda value: {"CORSConfiguration": value}, "DeleteBucketCors"),
    "LifecycleConfiguration": _Setting(
        "PutBucketLifecycleConfiguration",
        lambda value: {"LifecycleConfiguration": {"Rules": lifecycle_rules(value)}},
        "DeleteBucketLifecycle",
    ),
    "OwnershipControls": _Setting(
        "PutBucketOwnershipControls", lambda value: {"OwnershipControls": value}, "DeleteBucketOwnershipControls"
    ),
    "PublicAccessBlockConfiguration": _Setting(
        "PutPublicAccessBlock", lambda value: {"PublicAccessBlockConfiguration": value}, "DeletePublicAccessBlock"
    ),
    "Tags": _Setting("PutBucketTagging", lambda value: {"Tagging": {"TagSet": value}}, "DeleteBucketTagging"),
    "VersioningConfiguration": _Setting("PutBucketVersioning", lambda value: {"VersioningConfiguration": value}, None),
}
_KNOWN = frozenset(_SETTINGS) | {"AccessControl", "BucketName"}


def _encryption_rules(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = {"ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault"}
    return [
        {names.get(str(name), str(name)): content for name, content in rule.items()}
        for rule in value["ServerSideEncryptionConfiguration"]
    ]


class Bucket(Handler):
    """A bucket with its settings; `Ref` is its name. Only an empty bucket can be deleted."""

    types = ("AWS::S3::Bucket",)
    immutable = frozenset({"BucketName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        name = properties.get("BucketName") or context.new_name(63, lower=True)
        call(context, "s3", "CreateBucket", {"Bucket": name})
        return self.update(context, name, {}, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        for name, setting in _SETTINGS.items():
            if name in new and new[name] != old.get(name):
                call(context, "s3", setting.put, {"Bucket": physical_id, **setting.parameters(new[name])})
            elif name in old and name not in new and setting.remove:
                call(context, "s3", setting.remove, {"Bucket": physical_id})
        if "VersioningConfiguration" in old and "VersioningConfiguration" not in new:
            # S3 cannot take versioning back, only suspend it.
            suspended = {"VersioningConfiguration": {"Status": "Suspended"}}
            call(context, "s3", "PutBucketVersioning", {"Bucket": physical_id, **suspended})
        return Outcome(physical_id, _attributes(physical_id, context.region))

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("s3").delete_bucket(Bucket=physical_id)


def _attributes(name: str, region: str) -> dict[str, str]:
    return {
        "Arn": f"arn:aws:s3:::{name}",
        "DomainName": f"{name}.s3.amazonaws.com",
        "RegionalDomainName": f"{name}.s3.{region}.amazonaws.com",
        "DualStackDomainName": f"{name}.s3.dualstack.{region}.amazonaws.com",
    }
