# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""Alarms: what goes wrong with the queue, with requests, and with scaling to and from zero."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.async_endpoint import VARIANT
from infra.config import Config
from infra.endpoint_metrics import instances_metric, queue_metric, request_metric

_MINUTE = Duration.minutes(1)
_FIVE_MINUTES = Duration.minutes(5)


class Monitoring(Construct):
    """Six alarms, announced on one topic when they go off and when they are over."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, topic: sns.Topic) -> None:
        super().__init__(scope, construct_id)
        self._action = actions.SnsAction(topic)
        self._watch_queue(config)
        self._watch_requests(config)
        self._watch_scaling(config)

    def _watch_queue(self, config: Config) -> None:
        age = queue_metric("ApproximateAgeOfOldestRequest", config.endpoint, statistic="Maximum", period=_FIVE_MINUTES)
        self._alarm("QueueAge", age, "The oldest request has waited too long", config.alarm_queue_age_seconds)

    def _watch_requests(self, config: Config) -> None:
        described = {
            "InvocationFailures": ("Requests failed", config.alarm_failed_requests),
            "ExpiredRequests": ("Requests expired in the queue, unanswered", 1),
            "NotificationFailures": ("Messages could not be published", 1),
        }
        for name, (description, threshold) in described.items():
            metric = request_metric(name, config.endpoint, VARIANT, period=_FIVE_MINUTES)
            self._alarm(name, metric, description, threshold)

    def _watch_scaling(self, config: Config) -> None:
        waiting = queue_metric("HasBacklogWithoutCapacity", config.endpoint, statistic="Minimum", period=_MINUTE)
        self._alarm("WakeFailed", waiting, "Requests wait and no instance comes", 1, minutes=config.alarm_wake_minutes)
        idle = cloudwatch.MathExpression(
            # Instances kept ready are meant to idle. Requests that run count as backlog. Without data for it there is
            # no request, and at zero no sample.
            expression=f"IF(FILL(instances, 0) > {config.warm_instances} AND FILL(backlog, 0) == 0, 1, 0)",
            using_metrics={
                "instances": instances_metric(config.endpoint, VARIANT, period=_MINUTE),
                "backlog": queue_metric("ApproximateBacklogSize", config.endpoint, statistic="Maximum", period=_MINUTE),
            },
            period=_MINUTE,
            label="An instance runs idle",
        )
        self._alarm(
            "IdleInstance", idle, "An instance costs money and has no work", 1, minutes=config.alarm_idle_minutes
        )

    def _alarm(
        self, alarm_id: str, metric: cloudwatch.IMetric, description: str, threshold: float, *, minutes: int = 1
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            alarm_id,
            alarm_description=description,
            metric=metric,
            threshold=threshold,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=minutes,
            datapoints_to_alarm=minutes,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(self._action)
        alarm.add_ok_action(self._action)
