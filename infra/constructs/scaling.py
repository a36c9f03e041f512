"""Scaling of the endpoint between zero and the maximum number of instances, by its queue."""

import jsii
from aws_cdk import Duration
from aws_cdk import aws_applicationautoscaling as appscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.config import Config
from infra.constructs.async_endpoint import VARIANT, AsyncEndpoint


class ScaleToZero(Construct):
    """Tracks the backlog per instance down to zero instances, and wakes the endpoint on the first waiting request."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, endpoint: AsyncEndpoint) -> None:
        super().__init__(scope, construct_id)
        self.target = appscaling.CfnScalableTarget(
            self,
            "Target",
            service_namespace="sagemaker",
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            resource_id=f"endpoint/{endpoint.name}/variant/{VARIANT}",
            min_capacity=0,
            max_capacity=config.max_capacity,
            scheduled_actions=_warm_up(config),
        )
        # Created after the endpoint and deleted before it: SageMaker restricts changes while a target is registered.
        self.target.add_resource_dependency(endpoint.endpoint)
        policy = appscaling.CfnScalingPolicy
        policy(
            self,
            "FollowBacklog",
            policy_name="FollowBacklog",
            policy_type="TargetTrackingScaling",
            scaling_target_id=self.target.ref,
            target_tracking_scaling_policy_configuration=policy.TargetTrackingScalingPolicyConfigurationProperty(
                target_value=config.target_backlog,
                scale_in_cooldown=config.scale_in_cooldown_seconds,
                scale_out_cooldown=config.scale_out_cooldown_seconds,
                customized_metric_specification=policy.CustomizedMetricSpecificationProperty(
                    namespace="AWS/SageMaker",
                    metric_name="ApproximateBacklogSizePerInstance",
                    # EndpointName alone: any other dimension has no data, and the endpoint would never scale in.
                    dimensions=[policy.MetricDimensionProperty(name="EndpointName", value=endpoint.name)],
                    statistic="Average",
                ),
            ),
        )
        # From zero, target tracking alone would wait until the backlog exceeds the target.
        wake = policy(
            self,
            "WakeFromZero",
            policy_name="WakeFromZero",
            policy_type="StepScaling",
            scaling_target_id=self.target.ref,
            step_scaling_policy_configuration=policy.StepScalingPolicyConfigurationProperty(
                adjustment_type="ChangeInCapacity",
                cooldown=300,
                metric_aggregation_type="Average",
                step_adjustments=[policy.StepAdjustmentProperty(metric_interval_lower_bound=0, scaling_adjustment=1)],
            ),
        )
        alarm = cloudwatch.Alarm(
            self,
            "BacklogWithoutCapacity",
            alarm_description="Requests wait and no instance runs: add one",
            metric=endpoint.metric_queue("HasBacklogWithoutCapacity", statistic="Average", period=Duration.minutes(1)),
            threshold=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=2,
            datapoints_to_alarm=2,
            treat_missing_data=cloudwatch.TreatMissingData.MISSING,
        )
        alarm.add_alarm_action(_PolicyAction(wake.ref))


def _warm_up(config: Config) -> list[appscaling.CfnScalableTarget.ScheduledActionProperty] | None:
    """Return the actions that raise the minimum capacity to one and lower it again; FollowBacklog then scales in."""
    if not config.warm_up_schedule:
        return None
    props = appscaling.CfnScalableTarget
    actions = {"WarmUp": (config.warm_up_schedule, 1), "WarmUpEnd": (config.warm_up_end_schedule, 0)}
    return [
        props.ScheduledActionProperty(
            scheduled_action_name=name,
            schedule=schedule,
            timezone=config.warm_up_timezone,
            scalable_target_action=props.ScalableTargetActionProperty(
                min_capacity=min_capacity, max_capacity=config.max_capacity
            ),
        )
        for name, (schedule, min_capacity) in actions.items()
    ]


@jsii.implements(cloudwatch.IAlarmAction)
class _PolicyAction:
    """Runs a scaling policy. CDK's own action requires its higher-level policy class."""

    def __init__(self, policy_arn: str) -> None:
        self._policy_arn = policy_arn

    def bind(self, scope: Construct, alarm: cloudwatch.IAlarm) -> cloudwatch.AlarmActionConfig:
        return cloudwatch.AlarmActionConfig(alarm_action_arn=self._policy_arn)
