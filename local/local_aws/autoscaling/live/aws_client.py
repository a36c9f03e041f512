"""Calls to the embedded AWS that CloudWatch and Application Auto Scaling make internally on AWS."""

import json
import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from local_aws.autoscaling.rules.alarms import AlarmEvaluator
from local_aws.autoscaling.rules.autoscaler import ScalableTarget
from local_aws.autoscaling.rules.metrics import Metric
from local_aws.autoscaling.rules.scaling_config import Description, parse_alarm
from local_aws.emulator import clients
from local_aws.emulator.account import ACCOUNT_ID, REGION
from local_aws.emulator.operations import alarms

_log = logging.getLogger(__name__)
_NAMESPACE = "sagemaker"
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_MAX_SAMPLES = 1000  # in one PutMetricData call


class AwsApi:
    """Read definitions and write samples and alarm states, as the administrator."""

    def __init__(self) -> None:
        self._unsupported_alarms: set[str] = set()

    def targets(self) -> list[Description]:
        """Return the endpoint variants registered as scalable targets."""
        found = _list_all("describe_scalable_targets", "ScalableTargets")
        return [target for target in found if target["ScalableDimension"] == _DIMENSION]

    def policies(self) -> list[Description]:
        return _list_all("describe_scaling_policies", "ScalingPolicies")

    def scheduled_actions(self) -> list[Description]:
        return _list_all("describe_scheduled_actions", "ScheduledActions")

    def register(self, target: ScalableTarget) -> None:
        """Store the bounds that a scheduled action set."""
        clients.client("application-autoscaling").register_scalable_target(
            ServiceNamespace=_NAMESPACE,
            ScalableDimension=_DIMENSION,
            ResourceId=target.resource_id,
            MinCapacity=target.min_capacity,
            MaxCapacity=target.max_capacity,
        )

    def alarms(self) -> list[Description]:
        """Return the supported alarms. Log once why another one is not evaluated."""
        pages = clients.client("cloudwatch").get_paginator("describe_alarms").paginate()
        supported: list[Description] = []
        for alarm in (alarm for page in pages for alarm in page["MetricAlarms"]):
            try:
                parse_alarm(alarm)
            except (ValueError, KeyError) as error:
                if alarm["AlarmName"] not in self._unsupported_alarms:
                    self._unsupported_alarms.add(alarm["AlarmName"])
                    _log.warning("alarm %s is not evaluated: %r", alarm["AlarmName"], error)
            else:
                supported.append(alarm)
        return supported

    def publish(self, samples: Iterable[tuple[Metric, float]], at: datetime) -> None:
        by_namespace: dict[str, list[dict[str, Any]]] = {}
        for metric, value in samples:
            dimensions = [{"Name": name, "Value": text} for name, text in sorted(metric.dimensions)]
            datum = {"MetricName": metric.name, "Dimensions": dimensions, "Timestamp": at, "Value": value}
            by_namespace.setdefault(metric.namespace, []).append(datum)
        for namespace, data in by_namespace.items():
            for start in range(0, len(data), _MAX_SAMPLES):
                batch = data[start : start + _MAX_SAMPLES]
                clients.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=batch)

    def set_alarm_state(self, description: Description, alarm: AlarmEvaluator, at: datetime) -> None:
        """Store the alarm's new state and publish it to the topics among the state's actions.

        `description`: the alarm in DescribeAlarms, with its previous state.
        """
        reason = _state_reason(alarm)
        clients.client("cloudwatch").set_alarm_state(
            AlarmName=alarm.definition.name, StateValue=alarm.state, StateReason=reason
        )
        for arn in alarm.actions:
            if arn.split(":")[2:3] == ["sns"]:
                subject = f'{alarm.state}: "{alarm.definition.name}"'
                message = json.dumps(_notification(description, alarm, reason, at))
                try:
                    clients.client("sns").publish(TopicArn=arn, Message=message, Subject=subject[:100])
                except ClientError as error:  # as on AWS, a failed action is in the alarm's history
                    alarms.record_action(alarm.definition.name, arn, str(error))
                    continue
            alarms.record_action(alarm.definition.name, arn)  # the autoscaler carries out scaling actions

    def set_desired(self, endpoint: str, variant: str, count: int) -> None:
        clients.client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName=endpoint,
            DesiredWeightsAndCapacities=[{"VariantName": variant, "DesiredInstanceCount": count}],
        )


def _list_all(operation: str, field: str) -> list[Description]:
    pages = clients.client("application-autoscaling").get_paginator(operation).paginate(ServiceNamespace=_NAMESPACE)
    return [item for page in pages for item in page[field]]


def _state_reason(evaluator: AlarmEvaluator) -> str:
    alarm, values = evaluator.definition, ", ".join(f"{value:g}" for value in evaluator.recent) or "none"
    rule = (
        f"{alarm.comparison} {alarm.threshold:g} in {alarm.datapoints_to_alarm} of {alarm.evaluation_periods} periods"
    )
    return f"{rule}; recent datapoints: {values}"


def _notification(description: Description, evaluator: AlarmEvaluator, reason: str, at: datetime) -> dict[str, Any]:
    """Return the message that CloudWatch publishes when an alarm's state changes.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
    """
    alarm = evaluator.definition
    return {
        "AlarmName": alarm.name,
        "AlarmDescription": description.get("AlarmDescription"),
        "AWSAccountId": ACCOUNT_ID,
        "AlarmArn": description["AlarmArn"],
        "NewStateValue": evaluator.state,
        "NewStateReason": reason,
        "StateChangeTime": at.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "Region": REGION,
        "OldStateValue": str(description.get("StateValue")),
        "Trigger": {
            "MetricName": description.get("MetricName"),
            "Namespace": description.get("Namespace"),
            "Period": description.get("Period"),
            "EvaluationPeriods": alarm.evaluation_periods,
            "DatapointsToAlarm": alarm.datapoints_to_alarm,
            "ComparisonOperator": alarm.comparison,
            "Threshold": alarm.threshold,
            "TreatMissingData": alarm.treat_missing_data,
        },
    }
