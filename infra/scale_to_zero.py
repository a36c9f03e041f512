"""Scaling of the endpoint between no instance and the most allowed, by its queue."""

import jsii
from aws_cdk import Duration
from aws_cdk import aws_applicationautoscaling as appscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.async_endpoint import VARIANT, AsyncEndpoint
from infra.config import Config
from infra.endpoint_metrics import queue_metric

NAMESPACE = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
WAKE_COOLDOWN_SECONDS = 300


class ScaleToZero(Construct):
    """Follows the backlog per instance down to zero, and wakes from zero on the first waiting request."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, endpoint: AsyncEndpoint) -> None:
        super().__init__(scope, construct_id)
        self.target = appscaling.CfnScalableTarget(
            self,
            "Target",
            service_namespace=NAMESPACE,
            scalable_dimension=DIMENSION,
            resource_id=f"endpoint/{endpoint.name}/variant/{VARIANT}",
            min_capacity=0,
            max_capacity=config.max_capacity,
            scheduled_actions=_warm_up(config),
        )
        # Made after the endpoint and deleted before it: an endpoint with a scalable target cannot be changed at will.
        self.target.add_resource_dependency(endpoint.endpoint)
        self._follow_backlog(config, endpoint)
        self._wake(endpoint)

    def _follow_backlog(self, config: Config, endpoint: AsyncEndpoint) -> None:
        policy = appscaling.CfnScalingPolicy
        policy(
            self,
            "FollowBacklog",
            policy_name="FollowBacklog",
            policy_type="TargetTrackingScaling",
            scaling_target_id=self.target.ref,
            target_tracking_scaling_policy_configuration=policy.TargetTrackingScalingPolicyConfigurationProperty(
                target_value=config.target_backlog_per_instance,
                scale_in_cooldown=config.scale_in_cooldown_seconds,
                scale_out_cooldown=config.scale_out_cooldown_seconds,
                customized_metric_specification=policy.CustomizedMetricSpecificationProperty(
                    namespace="AWS/SageMaker",
                    metric_name="ApproximateBacklogSizePerInstance",
                    # EndpointName alone: with any other dimension there is no data, and the endpoint never scales in.
                    dimensions=[policy.MetricDimensionProperty(name="EndpointName", value=endpoint.name)],
                    statistic="Average",
                ),
            ),
        )

    def _wake(self, endpoint: AsyncEndpoint) -> None:
        """From zero, target tracking alone would wait until the backlog exceeds the target."""
        policy = appscaling.CfnScalingPolicy
        wake = policy(
            self,
            "WakeFromZero",
            policy_name="WakeFromZero",
            policy_type="StepScaling",
            scaling_target_id=self.target.ref,
            step_scaling_policy_configuration=policy.StepScalingPolicyConfigurationProperty(
                adjustment_type="ChangeInCapacity",
                cooldown=WAKE_COOLDOWN_SECONDS,
                metric_aggregation_type="Average",
                step_adjustments=[policy.StepAdjustmentProperty(metric_interval_lower_bound=0, scaling_adjustment=1)],
            ),
        )
        alarm = cloudwatch.Alarm(
            self,
            "BacklogWithoutCapacity",
            alarm_description="Requests wait and no instance runs: add one",
            metric=queue_metric(
                "HasBacklogWithoutCapacity", endpoint.name, statistic="Average", period=Duration.minutes(1)
            ),
            threshold=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=2,
            datapoints_to_alarm=2,
            treat_missing_data=cloudwatch.TreatMissingData.MISSING,
        )
        alarm.add_alarm_action(_PolicyAction(wake.ref))


def _warm_up(config: Config) -> list[appscaling.CfnScalableTarget.ScheduledActionProperty] | None:
    """Raise the least capacity to one at a time of day, and take it back later; scaling in is the policy's affair."""
    if not config.warm_up_schedule:
        return None
    kind = appscaling.CfnScalableTarget
    times = {"WarmUp": (config.warm_up_schedule, 1), "WarmUpEnd": (config.warm_up_end_schedule, 0)}
    return [
        kind.ScheduledActionProperty(
            scheduled_action_name=name,
            schedule=schedule,
            timezone=config.warm_up_timezone,
            scalable_target_action=kind.ScalableTargetActionProperty(
                min_capacity=least, max_capacity=config.max_capacity
            ),
        )
        for name, (schedule, least) in times.items()
    ]


@jsii.implements(cloudwatch.IAlarmAction)
class _PolicyAction:
    """Runs a scaling policy: CDK's own action wants a policy of another kind than the exact one above."""

    def __init__(self, policy_arn: str) -> None:
        self._policy_arn = policy_arn

    def bind(self, scope: Construct, alarm: cloudwatch.IAlarm) -> cloudwatch.AlarmActionConfig:
        """What goes into the alarm's actions."""
        return cloudwatch.AlarmActionConfig(alarm_action_arn=self._policy_arn)
