"""AWS::CloudWatch::Alarm."""

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties


class Alarm(Handler):
    """A metric alarm; `Ref` is its name."""

    types = ("AWS::CloudWatch::Alarm",)
    name = ("AlarmName", 255)
    immutable = frozenset({"AlarmName"})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        context.call("cloudwatch", "PutMetricAlarm", {**new, "AlarmName": physical_id})
        return Outcome(physical_id, {"Arn": context.arn("cloudwatch", f"alarm:{physical_id}")})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("cloudwatch").delete_alarms(AlarmNames=[physical_id])
