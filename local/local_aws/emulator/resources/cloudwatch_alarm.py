"""AWS::CloudWatch::Alarm."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties
from local_aws.emulator.resources.conform import call


class Alarm(Handler):
    """A metric alarm; `Ref` is its name."""

    types = ("AWS::CloudWatch::Alarm",)
    immutable = frozenset({"AlarmName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        name = properties.get("AlarmName") or context.new_name(255)
        return self.update(context, name, {}, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        call(context, "cloudwatch", "PutMetricAlarm", {**new, "AlarmName": physical_id})
        return Outcome(physical_id, {"Arn": context.arn("cloudwatch", f"alarm:{physical_id}")})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("cloudwatch").delete_alarms(AlarmNames=[physical_id])
