"""Calls to the embedded AWS that CloudWatch and Application Auto Scaling make internally on AWS."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import MetricAggregatedDatum, MetricDatum, MetricDatumBase, cloudwatch_backends

from local_aws.autoscaling.rules.alarms import AlarmEvaluator
from local_aws.autoscaling.rules.autoscaler import ScalableTarget
from local_aws.autoscaling.rules.endpoint_metrics import HOST_NAMESPACE, NAMESPACE, unit_of
from local_aws.autoscaling.rules.metrics import Metric
from local_aws.autoscaling.rules.scaling_config import Description, parse_alarm
from local_aws.emulator import clients
from local_aws.emulator.account import ACCOUNT_ID, REGION

_log = logging.getLogger(__name__)
_NAMESPACE = "sagemaker"
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_MAX_SAMPLES = 1000  # in one PutMetricData call


class AwsApi:
    """Read definitions and write samples and alarm states, as the administrator."""

    def __init__(self) -> None:
        self._unsupported_alarms: set[str] = set()
        self._samples_seen = 0

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
            datum["Unit"] = unit_of(metric.name)
            by_namespace.setdefault(metric.namespace, []).append(datum)
        for namespace, data in by_namespace.items():
            for start in range(0, len(data), _MAX_SAMPLES):
                batch = data[start : start + _MAX_SAMPLES]
                clients.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=batch)

    def set_alarm_state(self, alarm: AlarmEvaluator) -> None:
        """Store the alarm's new state; CloudWatch then publishes it to the topics among the state's actions."""
        clients.client("cloudwatch").set_alarm_state(
            AlarmName=alarm.definition.name, StateValue=alarm.state, StateReason=_state_reason(alarm)
        )

    def new_samples(self) -> list[tuple[Metric, float, float, str]]:
        """Return the samples that others have published since the last call, with their age in seconds and unit."""
        data = cloudwatch_backends[ACCOUNT_ID][REGION].metric_data
        start, self._samples_seen = self._samples_seen, len(data)
        now = datetime.now(UTC)
        found: list[tuple[Metric, float, float, str]] = []
        for datum in data[start : self._samples_seen]:
            if datum.namespace in (NAMESPACE, HOST_NAMESPACE):  # the controllers have these already
                continue
            dimensions = {str(item.name): str(item.value) for item in datum.dimensions}
            metric = Metric.of(datum.namespace, datum.name, dimensions)
            age = (now - datum.timestamp.replace(tzinfo=datum.timestamp.tzinfo or UTC)).total_seconds()
            found += [(metric, value, age, datum.unit or "None") for value in _values(datum)]
        return found

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


def _values(datum: MetricDatumBase) -> list[float]:
    """Return a datum's value; for a set of statistics, values with the same sum, minimum, maximum and count."""
    if isinstance(datum, MetricDatum):
        return [datum.value]
    assert isinstance(datum, MetricAggregatedDatum)
    count = int(datum.sample_count)
    if count < 3:
        return [datum.min, datum.max][-count:] if count else []
    return [datum.min, datum.max, *[(datum.sum - datum.min - datum.max) / (count - 2)] * (count - 2)]
