"""The controller's calls to the embedded AWS: what CloudWatch and Application Auto Scaling do themselves on AWS."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from local_aws.autoscaling.autoscaler import ScalableTarget
from local_aws.autoscaling.definitions import Described, alarm_from
from local_aws.autoscaling.metrics import Metric
from local_aws.emulator import clients

_log = logging.getLogger(__name__)
_NAMESPACE = "sagemaker"
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_MOST_DATA = 1000  # samples that one PutMetricData takes


class Cloud:
    """Reads definitions and writes samples and alarm states, as the administrator."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    def targets(self) -> list[Described]:
        """The endpoint variants that are registered as scalable targets."""
        found = _all("application-autoscaling", "describe_scalable_targets", "ScalableTargets")
        return [target for target in found if target["ScalableDimension"] == _DIMENSION]

    def policies(self) -> list[Described]:
        """All scaling policies of SageMaker."""
        return _all("application-autoscaling", "describe_scaling_policies", "ScalingPolicies")

    def scheduled_actions(self) -> list[Described]:
        """All scheduled actions of SageMaker's targets."""
        return _all("application-autoscaling", "describe_scheduled_actions", "ScheduledActions")

    def register(self, target: ScalableTarget) -> None:
        """RegisterScalableTarget: the bounds that a scheduled action set."""
        clients.client("application-autoscaling").register_scalable_target(
            ServiceNamespace=_NAMESPACE,
            ScalableDimension=_DIMENSION,
            ResourceId=target.resource_id,
            MinCapacity=target.min_capacity,
            MaxCapacity=target.max_capacity,
        )

    def alarms(self) -> list[Described]:
        """The alarms that can be evaluated; of each other one the reason is logged once."""
        pages = clients.client("cloudwatch").get_paginator("describe_alarms").paginate()
        return [alarm for page in pages for alarm in page["MetricAlarms"] if self._evaluable(alarm)]

    def publish(self, samples: Iterable[tuple[Metric, float]], at: datetime) -> None:
        """PutMetricData, one call a namespace."""
        by_namespace: dict[str, list[dict[str, Any]]] = {}
        for metric, value in samples:
            dimensions = [{"Name": name, "Value": text} for name, text in sorted(metric.dimensions)]
            datum = {"MetricName": metric.name, "Dimensions": dimensions, "Timestamp": at, "Value": value}
            by_namespace.setdefault(metric.namespace, []).append(datum)
        for namespace, data in by_namespace.items():
            for start in range(0, len(data), _MOST_DATA):
                part: Sequence[dict[str, Any]] = data[start : start + _MOST_DATA]
                clients.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=part)

    def set_state(self, alarm: str, state: str, reason: str) -> None:
        """SetAlarmState: what DescribeAlarms then says."""
        clients.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue=state, StateReason=reason)

    def notify(self, topic: str, message: str, subject: str) -> None:
        """Publishes an alarm's message."""
        clients.client("sns").publish(TopicArn=topic, Message=message, Subject=subject[:100])

    def set_desired(self, endpoint: str, variant: str, count: int) -> None:
        """UpdateEndpointWeightsAndCapacities, as Application Auto Scaling calls it."""
        clients.client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName=endpoint,
            DesiredWeightsAndCapacities=[{"VariantName": variant, "DesiredInstanceCount": count}],
        )

    def _evaluable(self, alarm: Described) -> bool:
        try:
            alarm_from(alarm)
        except (ValueError, KeyError) as error:
            if alarm["AlarmName"] not in self._refused:
                self._refused.add(alarm["AlarmName"])
                _log.warning("alarm %s is not evaluated: %r", alarm["AlarmName"], error)
            return False
        return True


def _all(service: str, operation: str, field: str) -> list[Described]:
    pages = clients.client(service).get_paginator(operation).paginate(ServiceNamespace=_NAMESPACE)
    return [item for page in pages for item in page[field]]
