"""The scaling of an endpoint as the stack's template defines it, created through the API."""

from typing import Any

from local_aws.emulator import clients

_DIMENSION = "sagemaker:variant:DesiredInstanceCount"


class ScalingStack:
    """Target, target tracking, wake policy and alarms of `<endpoint>`'s variant AllTraffic.

    Tests may change the tracked metric's dimensions, the wake policy, the maximum number of instances, and the topic of
    an alarm on failed requests.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        tracked_dimensions: list[dict[str, str]] | None = None,
        wake: bool = True,
        max_capacity: int = 1,
        notify: str | None = None,
    ) -> None:
        self.alarm, self.failures_alarm = f"{endpoint}-wake", f"{endpoint}-failures"
        self._dimensions = [{"Name": "EndpointName", "Value": endpoint}]
        self._scaling, self._cloudwatch = clients.client("application-autoscaling"), clients.client("cloudwatch")
        self._place = {
            "ServiceNamespace": "sagemaker",
            "ScalableDimension": _DIMENSION,
            "ResourceId": f"endpoint/{endpoint}/variant/AllTraffic",
        }
        self._scaling.register_scalable_target(**self._place, MinCapacity=0, MaxCapacity=max_capacity)
        self._follow(tracked_dimensions or self._dimensions)
        if wake:
            self._wake()
        if notify:
            self._watch_failures(notify)

    def schedule(self, when: str, *, minimum: int) -> None:
        """Schedule a change of MinCapacity."""
        self._scaling.put_scheduled_action(
            **self._place,
            ScheduledActionName="Ready",
            Schedule=when,
            ScalableTargetAction={"MinCapacity": minimum},
        )

    def bounds(self) -> tuple[int, int]:
        """Return MinCapacity and MaxCapacity."""
        resource = self._place["ResourceId"]
        answer = self._scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[resource])
        (target,) = answer["ScalableTargets"]
        return target["MinCapacity"], target["MaxCapacity"]

    def delete(self) -> None:
        """Delete the target, its scheduled actions and the alarms."""
        for action in self._scaling.describe_scheduled_actions(**self._place)["ScheduledActions"]:
            self._scaling.delete_scheduled_action(**self._place, ScheduledActionName=action["ScheduledActionName"])
        self._scaling.deregister_scalable_target(**self._place)
        self._cloudwatch.delete_alarms(AlarmNames=[self.alarm, self.failures_alarm])

    def _follow(self, dimensions: list[dict[str, str]]) -> None:
        metric = {"Namespace": "AWS/SageMaker", "MetricName": "ApproximateBacklogSizePerInstance"}
        self._put_policy(
            "FollowBacklog",
            "TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": 4,
                "ScaleInCooldown": 300,
                "ScaleOutCooldown": 300,
                "CustomizedMetricSpecification": {**metric, "Dimensions": dimensions, "Statistic": "Average"},
            },
        )

    def _wake(self) -> None:
        arn = self._put_policy(
            "WakeFromZero",
            "StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ChangeInCapacity",
                "Cooldown": 300,
                "MetricAggregationType": "Average",
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
            },
        )
        self._put_alarm(self.alarm, "HasBacklogWithoutCapacity", "Average", self._dimensions, 2, "missing", arn)

    def _watch_failures(self, topic: str) -> None:
        dimensions = [*self._dimensions, {"Name": "VariantName", "Value": "AllTraffic"}]
        name = self.failures_alarm
        self._put_alarm(name, "InvocationFailures", "Sum", dimensions, 1, "notBreaching", topic)

    def _put_policy(self, name: str, kind: str, **configuration: Any) -> str:
        answer = self._scaling.put_scaling_policy(**self._place, PolicyName=name, PolicyType=kind, **configuration)
        return answer["PolicyARN"]

    def _put_alarm(
        self,
        name: str,
        metric: str,
        statistic: str,
        dimensions: list[dict[str, str]],
        periods: int,
        missing: str,
        action: str,
    ) -> None:
        self._cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Statistic=statistic,
            Dimensions=dimensions,
            Period=60,
            EvaluationPeriods=periods,
            DatapointsToAlarm=periods,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData=missing,
            AlarmActions=[action],
        )
