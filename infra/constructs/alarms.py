# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""Alarms on the queue, on failed requests, on slow instances, and on scaling to and from zero."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.config import Config
from infra.constructs.async_endpoint import AsyncEndpoint

_MINUTE = Duration.minutes(1)
_FIVE_MINUTES = Duration.minutes(5)
_DAY = Duration.days(1)


class Monitoring(Construct):
    """Five alarms, and two on scaling, published to one topic when they go off and when they are over."""

    def __init__(
        self, scope: Construct, construct_id: str, *, config: Config, endpoint: AsyncEndpoint, topic: sns.Topic
    ) -> None:
        super().__init__(scope, construct_id)
        self._action = actions.SnsAction(topic)
        age = endpoint.metric_queue("ApproximateAgeOfOldestRequest", statistic="Maximum", period=_FIVE_MINUTES)
        self._alarm("QueueAge", age, "The oldest request has waited too long", config.alarm_queue_age_seconds)
        self._alarm("InvocationFailures", _failures(endpoint), "Requests failed", config.alarm_failed_requests)
        for name, description, threshold in (
            ("ExpiredRequests", "Requests expired in the queue, unanswered", 1),
            ("NotificationFailures", "Messages could not be published", 1),
        ):
            self._alarm(name, endpoint.metric_requests(name, period=_FIVE_MINUTES), description, threshold)
        slow_path = endpoint.metric_container("SlowPath", period=_FIVE_MINUTES)
        self._alarm("SlowPath", slow_path, "An instance started on a slower path than it should", 1)
        if config.alarm_instance_hours:
            self._alarm_on_hours(config, endpoint)
        if config.scaling == "on":
            self._alarms_on_scaling(config, endpoint)

    def _alarm_on_hours(self, config: Config, endpoint: AsyncEndpoint) -> None:
        """Watch what instances cost, by the metric that each publishes once a minute while it runs.

        Not AWS Budgets: its data are up to a day old, and it tells stacks apart only by tags that the payer's account
        has activated for cost allocation.
        """
        hours = cloudwatch.MathExpression(
            expression="FILL(minutes, 0) / 60",
            using_metrics={"minutes": endpoint.metric_instances(period=_DAY)},
            period=_DAY,
            label="Instance hours within a day",
        )
        self._alarm("InstanceHours", hours, "Instances ran for longer than planned", config.alarm_instance_hours)

    def _alarms_on_scaling(self, config: Config, endpoint: AsyncEndpoint) -> None:
        waiting = endpoint.metric_queue("HasBacklogWithoutCapacity", statistic="Minimum", period=_MINUTE)
        self._alarm("WakeFailed", waiting, "Requests wait and no instance comes", 1, minutes=config.alarm_wake_minutes)
        idle = cloudwatch.MathExpression(
            # A warm instance is meant to be idle. Running requests count as backlog. Missing data means no request,
            # and no instance.
            expression=f"IF(FILL(up, 0) > {_warm_instances(config)} AND FILL(backlog, 0) == 0, 1, 0)",
            using_metrics={
                "up": endpoint.metric_instances(period=_MINUTE),
                "backlog": endpoint.metric_queue("ApproximateBacklogSize", statistic="Maximum", period=_MINUTE),
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
        """Create an alarm; `minutes` is the number of consecutive periods at the threshold."""
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


def _failures(endpoint: AsyncEndpoint) -> cloudwatch.MathExpression:
    """Return the failed requests without those that the container refused with a 4xx status, or clients cancelled.

    SageMaker counts every failure, whatever its reason, and publishes a 1 for each 4xx status:
    https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html
    """
    return cloudwatch.MathExpression(
        expression="FILL(failed, 0) - FILL(refused, 0)",
        using_metrics={
            "failed": endpoint.metric_requests("InvocationFailures", period=_FIVE_MINUTES),
            "refused": endpoint.metric_requests("Invocation4XXErrors", period=_FIVE_MINUTES),
        },
        period=_FIVE_MINUTES,
        label="Failed requests that were not refused",
    )


def _warm_instances(config: Config) -> str:
    """Return the number of instances that the schedule keeps ready, as metric math of the time of each datapoint."""
    windows = config.warm_windows
    if windows is None:
        return "1"
    # DAY is 1 on Mondays, and like HOUR and MINUTE in UTC.
    minute = "DAY(up)*1440+HOUR(up)*60+MINUTE(up)"
    inside = [f"({minute} >= {start + 1440} AND {minute} < {end + 1440})" for start, end in windows]
    return f"IF({' OR '.join(inside)}, 1, 0)" if inside else "0"
