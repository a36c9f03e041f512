"""AWS::CloudWatch::Alarm."""

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties


class Alarm(Handler):
    """A metric alarm; `Ref` is its name."""

    types = ("AWS::CloudWatch::Alarm",)
    taggable = True
    name = ("AlarmName", 255)
    immutable = frozenset({"AlarmName"})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        arn = context.arn("cloudwatch", f"alarm:{physical_id}")
        if old:  # PutMetricAlarm ignores the tags of an alarm that exists
            context.replace_tags("cloudwatch", {"ResourceARN": arn}, old, new)
            new = {name: value for name, value in new.items() if name != "Tags"}
        context.call("cloudwatch", "PutMetricAlarm", {**new, "AlarmName": physical_id})
        return Outcome(physical_id, {"Arn": arn})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("cloudwatch").delete_alarms(AlarmNames=[physical_id])
