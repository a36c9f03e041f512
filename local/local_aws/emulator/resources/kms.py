"""AWS::KMS::Key, a symmetric key, and Alias. Nothing is encrypted here; the policy is stored, but not evaluated."""

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, policy_json

_DEFAULT_WINDOW_DAYS = 30  # CloudFormation's default, and the maximum


class Key(Handler):
    """`Ref` is the key's id. Deleting the key schedules its deletion, as on AWS."""

    types = ("AWS::KMS::Key",)
    taggable = True
    properties = frozenset({"Description", "EnableKeyRotation", "KeyPolicy", "PendingWindowInDays", "Tags"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        settings = {
            "Description": properties.get("Description", ""),
            "Policy": policy_json(properties["KeyPolicy"]),
            "Tags": properties.get("Tags", []),
        }
        key = context.call("kms", "CreateKey", settings)["KeyMetadata"]["KeyId"]
        return _finish(context, key, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        kms = context.client("kms")
        kms.put_key_policy(KeyId=physical_id, PolicyName="default", Policy=policy_json(new["KeyPolicy"]))
        kms.update_key_description(KeyId=physical_id, Description=new.get("Description", ""))
        context.replace_tags("kms", {"KeyId": physical_id}, old, new)
        return _finish(context, physical_id, new)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        days = int(properties.get("PendingWindowInDays", _DEFAULT_WINDOW_DAYS))
        context.client("kms").schedule_key_deletion(KeyId=physical_id, PendingWindowInDays=days)


class Alias(Handler):
    """Another name of a key; `Ref` is the alias's name."""

    types = ("AWS::KMS::Alias",)
    properties = frozenset({"AliasName", "TargetKeyId"})
    immutable = frozenset({"AliasName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        context.call("kms", "CreateAlias", properties)
        return Outcome(properties["AliasName"])

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        context.call("kms", "UpdateAlias", {**new, "AliasName": physical_id})
        return Outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("kms").delete_alias(AliasName=physical_id)


def _finish(context: Context, key: str, properties: Properties) -> Outcome:
    rotates = str(properties.get("EnableKeyRotation", False)).lower() == "true"
    context.call("kms", "EnableKeyRotation" if rotates else "DisableKeyRotation", {"KeyId": key})
    return Outcome(key, {"Arn": context.arn("kms", f"key/{key}"), "KeyId": key})
