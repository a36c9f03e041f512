"""AWS::Logs::LogGroup."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, require_known
from local_aws.emulator.resources.conform import call

_KNOWN = frozenset({"KmsKeyId", "LogGroupClass", "LogGroupName", "RetentionInDays", "Tags"})


class LogGroup(Handler):
    """A log group; `Ref` is its name."""

    types = ("AWS::Logs::LogGroup",)
    immutable = frozenset({"LogGroupClass", "LogGroupName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        name = properties.get("LogGroupName") or context.new_name(512)
        settings = {key: properties[key] for key in ("KmsKeyId", "LogGroupClass") if key in properties}
        tags = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
        call(context, "logs", "CreateLogGroup", {"logGroupName": name, **_lower(settings), "tags": tags})
        _set_retention(context, name, properties)
        return _outcome(context, name)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        logs, arn = context.client("logs"), context.arn("logs", f"log-group:{physical_id}")
        _set_retention(context, physical_id, new)
        if old.get("Tags"):
            logs.untag_resource(resourceArn=arn, tagKeys=[tag["Key"] for tag in old["Tags"]])
        if new.get("Tags"):
            logs.tag_resource(resourceArn=arn, tags={tag["Key"]: tag["Value"] for tag in new["Tags"]})
        return _outcome(context, physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("logs").delete_log_group(logGroupName=physical_id)


def _set_retention(context: Context, name: str, properties: Properties) -> None:
    logs = context.client("logs")
    if "RetentionInDays" in properties:
        logs.put_retention_policy(logGroupName=name, retentionInDays=int(properties["RetentionInDays"]))
    else:
        logs.delete_retention_policy(logGroupName=name)


def _outcome(context: Context, name: str) -> Outcome:
    return Outcome(name, {"Arn": context.arn("logs", f"log-group:{name}:*")})


def _lower(settings: dict[str, str]) -> dict[str, str]:
    return {name[0].lower() + name[1:]: value for name, value in settings.items()}
