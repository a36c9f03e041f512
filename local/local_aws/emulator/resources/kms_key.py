"""AWS::KMS::Key: a symmetric key. Nothing here is encrypted with it, and its policy is kept but not evaluated."""

from __future__ import annotations

from typing import Any

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, document, require_known
from local_aws.emulator.resources.conform import call

_KNOWN = frozenset({"Description", "EnableKeyRotation", "KeyPolicy", "PendingWindowInDays", "Tags"})
_LONGEST_WINDOW_DAYS = 30  # CloudFormation's default


class Key(Handler):
    """A key; `Ref` is its id. Deleting it schedules its deletion, as AWS deletes no key at once."""

    types = ("AWS::KMS::Key",)

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        tags = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in properties.get("Tags", [])]
        settings = {"Description": properties.get("Description", ""), "Policy": document(properties["KeyPolicy"])}
        made: dict[str, Any] = call(context, "kms", "CreateKey", {**settings, "Tags": tags})["KeyMetadata"]
        _set_rotation(context, made["KeyId"], properties)
        return _outcome(context, made["KeyId"])

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        kms = context.client("kms")
        kms.put_key_policy(KeyId=physical_id, PolicyName="default", Policy=document(new["KeyPolicy"]))
        kms.update_key_description(KeyId=physical_id, Description=new.get("Description", ""))
        _set_rotation(context, physical_id, new)
        if old.get("Tags"):
            kms.untag_resource(KeyId=physical_id, TagKeys=[tag["Key"] for tag in old["Tags"]])
        if new.get("Tags"):
            tags = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in new["Tags"]]
            kms.tag_resource(KeyId=physical_id, Tags=tags)
        return _outcome(context, physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        days = int(properties.get("PendingWindowInDays", _LONGEST_WINDOW_DAYS))
        context.client("kms").schedule_key_deletion(KeyId=physical_id, PendingWindowInDays=days)


def _set_rotation(context: Context, key: str, properties: Properties) -> None:
    kms = context.client("kms")
    if str(properties.get("EnableKeyRotation", False)).lower() == "true":
        kms.enable_key_rotation(KeyId=key)
    else:
        kms.disable_key_rotation(KeyId=key)


def _outcome(context: Context, key: str) -> Outcome:
    return Outcome(key, {"Arn": context.arn("kms", f"key/{key}"), "KeyId": key})
