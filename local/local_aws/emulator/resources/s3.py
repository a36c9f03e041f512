"""AWS::S3::Bucket and BucketPolicy."""

from collections.abc import Mapping
from typing import Any

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, ResourceFailedError, policy_json

# Bucket property -> the operations that set and remove it.
_SETTINGS = {
    "BucketEncryption": ("PutBucketEncryption", "DeleteBucketEncryption"),
    "CorsConfiguration": ("PutBucketCors", "DeleteBucketCors"),
    "LifecycleConfiguration": ("PutBucketLifecycleConfiguration", "DeleteBucketLifecycle"),
    "OwnershipControls": ("PutBucketOwnershipControls", "DeleteBucketOwnershipControls"),
    "PublicAccessBlockConfiguration": ("PutPublicAccessBlock", "DeletePublicAccessBlock"),
    "Tags": ("PutBucketTagging", "DeleteBucketTagging"),
    "VersioningConfiguration": ("PutBucketVersioning", None),
}
_EXPIRATION = {
    "ExpirationInDays": "Days",
    "ExpirationDate": "Date",
    "ExpiredObjectDeleteMarker": "ExpiredObjectDeleteMarker",
}
_RULE_ACTIONS = ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
_RULE_MEMBERS = frozenset({"Id", "Status", "Prefix", *_EXPIRATION, *_RULE_ACTIONS})


def _lifecycle_rules(configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Convert CloudFormation's lifecycle rules to those of S3's API; raise ResourceFailedError on unknown members."""
    rules: list[dict[str, Any]] = []
    for index, rule in enumerate(configuration["Rules"]):
        if unknown := sorted(set(rule) - _RULE_MEMBERS):
            raise ResourceFailedError(
                f"a lifecycle rule must have members among {sorted(_RULE_MEMBERS)}, got {unknown}"
            )
        expiration = {api: rule[name] for name, api in _EXPIRATION.items() if name in rule}
        rules.append(
            {
                "ID": rule.get("Id", f"rule-{index}"),
                "Status": rule["Status"],
                "Filter": {"Prefix": rule.get("Prefix", "")},
                **({"Expiration": expiration} if expiration else {}),
                **{name: rule[name] for name in _RULE_ACTIONS if name in rule},
            }
        )
    return rules


def _parameters(name: str, value: Any) -> dict[str, Any]:
    """Return a property's value as the parameter of the operation that sets it."""
    match name:
        case "BucketEncryption":
            names = {"ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault"}
            rules = [
                {names.get(key, key): content for key, content in rule.items()}
                for rule in value["ServerSideEncryptionConfiguration"]
            ]
            return {"ServerSideEncryptionConfiguration": {"Rules": rules}}
        case "CorsConfiguration":
            return {"CORSConfiguration": value}
        case "LifecycleConfiguration":
            return {"LifecycleConfiguration": {"Rules": _lifecycle_rules(value)}}
        case "Tags":
            return {"Tagging": {"TagSet": value}}
        case _:
            return {name: value}


class Bucket(Handler):
    """A bucket with its settings; `Ref` is its name. Only an empty bucket can be deleted."""

    types = ("AWS::S3::Bucket",)
    taggable = True
    properties = frozenset({*_SETTINGS, "AccessControl", "BucketName"})
    immutable = frozenset({"BucketName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        name = properties.get("BucketName") or context.new_name(63, lower=True)
        context.call("s3", "CreateBucket", {"Bucket": name})
        return self.update(context, name, {}, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        for name, (put, remove) in _SETTINGS.items():
            if name in new and new[name] != old.get(name):
                context.call("s3", put, {"Bucket": physical_id, **_parameters(name, new[name])})
            elif name in old and name not in new and remove:
                context.call("s3", remove, {"Bucket": physical_id})
        if "VersioningConfiguration" in old and "VersioningConfiguration" not in new:
            # S3 cannot remove versioning, only suspend it.
            suspended = {"VersioningConfiguration": {"Status": "Suspended"}}
            context.call("s3", "PutBucketVersioning", {"Bucket": physical_id, **suspended})
        attributes = {
            "Arn": f"arn:aws:s3:::{physical_id}",
            "DomainName": f"{physical_id}.s3.amazonaws.com",
            "RegionalDomainName": f"{physical_id}.s3.{context.region}.amazonaws.com",
            "DualStackDomainName": f"{physical_id}.s3.dualstack.{context.region}.amazonaws.com",
        }
        return Outcome(physical_id, attributes)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("s3").delete_bucket(Bucket=physical_id)


class BucketPolicy(Handler):
    """`Ref` is the bucket's name."""

    types = ("AWS::S3::BucketPolicy",)
    immutable = frozenset({"Bucket"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        bucket = properties["Bucket"]
        context.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy_json(properties["PolicyDocument"]))
        return Outcome(bucket)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        return self.create(context, new)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("s3").delete_bucket_policy(Bucket=physical_id)
