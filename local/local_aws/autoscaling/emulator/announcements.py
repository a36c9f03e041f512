"""The message that CloudWatch publishes when an alarm's state changes.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
"""

import json
from datetime import datetime

from local_aws.autoscaling.alarms import AlarmWatch
from local_aws.autoscaling.definitions import Described
from local_aws.emulator.account import ACCOUNT_ID, REGION


def reason_of(watch: AlarmWatch) -> str:
    """Why an alarm is in its state."""
    alarm, values = watch.alarm, ", ".join(f"{value:g}" for value in watch.recent) or "none"
    rule = (
        f"{alarm.comparison} {alarm.threshold:g} in {alarm.datapoints_to_alarm} of {alarm.evaluation_periods} periods"
    )
    return f"{rule}; recent datapoints: {values}"


def message(described: Described, watch: AlarmWatch, before: str, at: datetime) -> str:
    """The JSON text of the message about `described`, DescribeAlarms' answer, which was in state `before`."""
    alarm = watch.alarm
    return json.dumps(
        {
            "AlarmName": alarm.name,
            "AlarmDescription": described.get("AlarmDescription"),
            "AWSAccountId": ACCOUNT_ID,
            "AlarmArn": described["AlarmArn"],
            "NewStateValue": watch.state,
            "NewStateReason": reason_of(watch),
            "StateChangeTime": at.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
            "Region": REGION,
            "OldStateValue": before,
            "Trigger": {
                "MetricName": described.get("MetricName"),
                "Namespace": described.get("Namespace"),
                "Period": described.get("Period"),
                "EvaluationPeriods": alarm.evaluation_periods,
                "DatapointsToAlarm": alarm.datapoints_to_alarm,
                "ComparisonOperator": alarm.comparison,
                "Threshold": alarm.threshold,
                "TreatMissingData": alarm.treatment,
            },
        }
    )
