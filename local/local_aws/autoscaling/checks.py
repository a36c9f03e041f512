"""Named checks of a template: does the endpoint that it declares scale to zero, wake, and come back?

The first ones look at the declaration, the last ones run it on the simulated endpoint.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local_aws.autoscaling.alarms import Alarm
from local_aws.autoscaling.definitions import step_scaling_from, target_tracking_from
from local_aws.autoscaling.deployed import ENDPOINT, TARGET, DeployedEndpoint, read_endpoint, read_scaling
from local_aws.autoscaling.endpoint_metrics import NAMESPACE
from local_aws.autoscaling.metrics import Metric
from local_aws.autoscaling.runs import answers_all, reaches_zero, returns_to_zero, scales_out, wakes
from local_aws.autoscaling.scaling import Scaling
from local_aws.autoscaling.series import MetricSeries
from local_aws.autoscaling.template import Template


@dataclass(frozen=True)
class Declared:
    """A template and what it says of its endpoint."""

    template: Template
    scaling: Scaling
    endpoint: DeployedEndpoint

    def queue_metric(self, name: str) -> Metric:
        """One of the queue's metrics, under the one dimension that SageMaker publishes it with."""
        return Metric.of(NAMESPACE, name, {"EndpointName": self.endpoint.name})

    def policies(self, kind: str) -> list[Mapping[str, Any]]:
        """The target's policies of a type."""
        return [policy for policy in self.scaling.policies if policy["PolicyType"] == kind]

    def alarms_on(self, name: str) -> list[Alarm]:
        """The alarms on a metric of that name, whatever its dimensions."""
        alarms = self.scaling.alarms
        return [
            alarm for alarm in alarms if isinstance(alarm.series, MetricSeries) and alarm.series.metric.name == name
        ]


Finding = str | None  # what is wrong, None where nothing is


def target_is_the_endpoint(declared: Declared) -> Finding:
    """The scalable target is the instance count of the endpoint's variant."""
    expected = f"endpoint/{declared.endpoint.name}/variant/{declared.endpoint.variant}"
    [(_, target)] = declared.template.of_type(TARGET)
    found = (target["ServiceNamespace"], target["ScalableDimension"], target["ResourceId"])
    wanted = ("sagemaker", "sagemaker:variant:DesiredInstanceCount", expected)
    return None if found == wanted else f"the scalable target must be {wanted}, got {found}"


def target_waits_for_the_endpoint(declared: Declared) -> Finding:
    """The target is registered after the endpoint was made, and deregistered before it is deleted."""
    [(target, _)], [(endpoint, _)] = declared.template.of_type(TARGET), declared.template.of_type(ENDPOINT)
    return None if endpoint in declared.template.depends_on(target) else f"{target} must depend on {endpoint}"


def least_is_zero(declared: Declared) -> Finding:
    """No instance has to run."""
    least = declared.scaling.target.min_capacity
    return None if least == 0 else f"MinCapacity must be 0, got {least}"


def follows_the_backlog(declared: Declared) -> Finding:
    """Target tracking follows the average backlog per instance."""
    policies = [target_tracking_from(policy) for policy in declared.policies("TargetTrackingScaling")]
    if len(policies) != 1:
        return f"there must be exactly one target tracking policy, got {len(policies)}"
    wanted = MetricSeries(declared.queue_metric("ApproximateBacklogSizePerInstance"), "Average", 60)
    found = policies[0].series
    return None if found == wanted else f"target tracking must follow {wanted}, got {found}"


def wake_alarm_sees_the_first_request(declared: Declared) -> Finding:
    """An alarm goes off two minutes after a request finds no instance, and on nothing else."""
    wanted = MetricSeries(declared.queue_metric("HasBacklogWithoutCapacity"), "Average", 60)
    alarms = _waking(declared)
    if not alarms:
        return "an alarm on HasBacklogWithoutCapacity must run a policy that adds instances"
    alarm = alarms[0]
    found = (alarm.comparison, alarm.threshold, alarm.datapoints_to_alarm, alarm.evaluation_periods, alarm.treatment)
    rule = ("GreaterThanOrEqualToThreshold", 1.0, 2, 2, "missing")
    if alarm.series != wanted:
        return f"{alarm.name} must watch {wanted}, got {alarm.series}"
    return None if found == rule else f"{alarm.name} must go off by {rule}, got {found}"


def wake_metric_never_removes(declared: Declared) -> Finding:
    """HasBacklogWithoutCapacity falls to 0 as soon as an instance runs: scaling in on it ends running requests."""
    removing = {
        policy["PolicyARN"]
        for policy in declared.policies("StepScaling")
        if any(step.adjustment <= 0 for step in step_scaling_from(policy).steps)
    }
    for alarm in declared.alarms_on("HasBacklogWithoutCapacity"):
        if removing & {arn for arns in alarm.actions.values() for arn in arns}:
            return f"{alarm.name} must not run a policy that removes instances"
    return None


def _waking(declared: Declared) -> list[Alarm]:
    adding = {
        policy["PolicyARN"]
        for policy in declared.policies("StepScaling")
        if any(step.covers(0.0) and step.adjustment > 0 for step in step_scaling_from(policy).steps)
    }
    alarms = declared.alarms_on("HasBacklogWithoutCapacity")
    return [alarm for alarm in alarms if adding & set(alarm.actions.get("ALARM", ()))]


CHECKS: Mapping[str, Callable[[Declared], Finding]] = {
    "target-is-the-endpoint": target_is_the_endpoint,
    "target-waits-for-the-endpoint": target_waits_for_the_endpoint,
    "least-is-zero": least_is_zero,
    "follows-the-backlog": follows_the_backlog,
    "wake-alarm-sees-the-first-request": wake_alarm_sees_the_first_request,
    "wake-metric-never-removes": wake_metric_never_removes,
    "idle-reaches-zero": lambda declared: reaches_zero(declared.scaling, declared.endpoint),
    "one-request-wakes-it": lambda declared: wakes(declared.scaling, declared.endpoint),
    "burst-scales-out": lambda declared: scales_out(declared.scaling, declared.endpoint),
    "every-request-is-answered-once": lambda declared: answers_all(declared.scaling, declared.endpoint),
    "load-returns-to-zero": lambda declared: returns_to_zero(declared.scaling, declared.endpoint),
}


def failures(body: Mapping[str, Any]) -> dict[str, str]:
    """The checks that a template (parsed JSON) fails, by name, each with what is wrong; empty where all is well."""
    template = Template(body)
    try:
        declared = Declared(template, read_scaling(template), read_endpoint(template))
    except (ValueError, KeyError) as error:
        return {"scaling-is-declared": f"the template's scaling must be complete, got {error!r}"}
    found = {name: check(declared) for name, check in CHECKS.items()}
    return {name: finding for name, finding in found.items() if finding}
