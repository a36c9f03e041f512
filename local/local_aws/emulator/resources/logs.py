"""AWS::Logs::LogGroup."""

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, pick


class LogGroup(Handler):
    """`Ref` is the log group's name."""

    types = ("AWS::Logs::LogGroup",)
    taggable = True
    properties = frozenset({"KmsKeyId", "LogGroupClass", "LogGroupName", "RetentionInDays", "Tags"})
    immutable = frozenset({"LogGroupClass", "LogGroupName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        name = properties.get("LogGroupName") or context.new_name(512)
        settings = pick(properties, "KmsKeyId", "LogGroupClass", "Tags")
        context.call("logs", "CreateLogGroup", {**settings, "LogGroupName": name})
        return _finish(context, name, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        context.replace_tags("logs", {"ResourceArn": context.arn("logs", f"log-group:{physical_id}")}, old, new)
        return _finish(context, physical_id, new)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("logs").delete_log_group(logGroupName=physical_id)


def _finish(context: Context, name: str, properties: Properties) -> Outcome:
    logs = context.client("logs")
    if "RetentionInDays" in properties:
        logs.put_retention_policy(logGroupName=name, retentionInDays=int(properties["RetentionInDays"]))
    else:
        logs.delete_retention_policy(logGroupName=name)
    return Outcome(name, {"Arn": context.arn("logs", f"log-group:{name}:*")})
