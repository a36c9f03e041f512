"""Named checks of a template: does the endpoint that it declares scale to zero, wake up, and return to zero?

The first checks read the declaration, the others run it on a simulated endpoint. Each returns what is wrong, or None.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from local_aws.autoscaling.rules.alarms import Alarm
from local_aws.autoscaling.rules.endpoint_metrics import NAMESPACE
from local_aws.autoscaling.rules.metrics import Metric, MetricSeries
from local_aws.autoscaling.rules.policies import StepScaling, TargetTracking
from local_aws.autoscaling.rules.scaling_config import ScalingConfig, all_actions
from local_aws.autoscaling.rules.template import (
    ENDPOINT,
    TARGET,
    DeclaredEndpoint,
    Template,
    read_endpoint,
    read_scaling,
)
from local_aws.autoscaling.simulator.simulated_endpoint import Assumptions
from local_aws.autoscaling.simulator.simulation import Arrival, SimulationResult, simulate
from local_aws.autoscaling.simulator.traffic import HOUR, PATTERNS, Traffic, arrival_times

_ASSUMPTIONS = Assumptions(startup=300.0)
_REQUEST_SECONDS = 60.0
_WAKE_SECONDS = 300.0  # from a request to requesting an instance: two datapoints, and their evaluation
_IDLE_MINUTES = 20  # fifteen datapoints, and their evaluation
_TRAFFIC = {"single": Traffic(1, 1), "burst": Traffic(200, 1), "trickle": Traffic(2, 4)}
_DEFAULT_TRAFFIC = Traffic(60, 4)

Check = Callable[["Declared"], str | None]
CHECKS: dict[str, Check] = {}


def failures(body: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong by the names of the checks that a template (parsed JSON) fails; empty if it passes all."""
    template = Template(body)
    try:
        declared = Declared(template, read_scaling(template), read_endpoint(template))
    except (ValueError, KeyError) as error:
        return {"scaling-is-declared": f"the template's scaling is incomplete: {error!r}"}
    return {name: finding for name, function in CHECKS.items() if (finding := function(declared))}


@dataclass(frozen=True)
class Declared:
    """A template with its parsed scaling and endpoint."""

    template: Template
    scaling: ScalingConfig
    endpoint: DeclaredEndpoint

    def queue_series(self, name: str) -> MetricSeries:
        """Return one-minute averages of a queue metric, with the only dimension that SageMaker publishes it with."""
        return MetricSeries(Metric.of(NAMESPACE, name, {"EndpointName": self.endpoint.name}), "Average", 60)

    @cached_property
    def wake_metric_alarms(self) -> list[Alarm]:
        """The alarms on HasBacklogWithoutCapacity, whatever its dimensions."""
        return [
            alarm
            for alarm in self.scaling.alarms
            if isinstance(alarm.series, MetricSeries) and alarm.series.metric.name == "HasBacklogWithoutCapacity"
        ]

    def step_policies(self, condition: Callable[[StepScaling], bool]) -> set[str]:
        """Return the ARNs of the step scaling policies that meet a condition."""
        return {policy.arn for policy in self.scaling.policies if isinstance(policy, StepScaling) and condition(policy)}

    def simulate(self, arrivals: list[Arrival], *, instances: int) -> SimulationResult:
        return simulate(
            self.scaling.with_scaling_alarms_only().without_scheduled_actions(),
            arrivals,
            _ASSUMPTIONS,
            concurrency=self.endpoint.concurrency,
            instances=instances,
        )

    def simulate_pattern(self, pattern: str, *, seed: int = 0) -> SimulationResult:
        """Simulate a traffic pattern that starts an hour after the endpoint was deployed with its initial instances."""
        base = _TRAFFIC.get(pattern, _DEFAULT_TRAFFIC)
        times = arrival_times(pattern, Traffic(base.rate, base.hours, seed))
        arrivals = [Arrival(HOUR + at, _REQUEST_SECONDS) for at in times]
        return self.simulate(arrivals, instances=self.endpoint.initial_instances)


def check(function: Check) -> Check:
    """Add a function to CHECKS, under its name with hyphens."""
    CHECKS[function.__name__.replace("_", "-")] = function
    return function


@check
def target_is_the_endpoint(declared: Declared) -> str | None:
    """The scalable target is the instance count of the endpoint's variant."""
    expected = f"endpoint/{declared.endpoint.name}/variant/{declared.endpoint.variant}"
    [(_, target)] = declared.template.of_type(TARGET)
    found = (target["ServiceNamespace"], target["ScalableDimension"], target["ResourceId"])
    wanted = ("sagemaker", "sagemaker:variant:DesiredInstanceCount", expected)
    return None if found == wanted else f"the scalable target must be {wanted}, got {found}"


@check
def target_waits_for_the_endpoint(declared: Declared) -> str | None:
    """The target is registered after the endpoint is created, and deregistered before it is deleted."""
    [(target, _)], [(endpoint, _)] = declared.template.of_type(TARGET), declared.template.of_type(ENDPOINT)
    return None if endpoint in declared.template.depends_on(target) else f"{target} must depend on {endpoint}"


@check
def least_is_zero(declared: Declared) -> str | None:
    """The minimum capacity is zero."""
    minimum = declared.scaling.target.min_capacity
    return None if minimum == 0 else f"MinCapacity must be 0, got {minimum}"


@check
def follows_the_backlog(declared: Declared) -> str | None:
    """Target tracking follows the average backlog per instance."""
    policies = [policy for policy in declared.scaling.policies if isinstance(policy, TargetTracking)]
    if len(policies) != 1:
        return f"there must be exactly one target tracking policy, got {len(policies)}"
    wanted, found = declared.queue_series("ApproximateBacklogSizePerInstance"), policies[0].series
    return None if found == wanted else f"target tracking must follow {wanted}, got {found}"


@check
def wake_alarm_sees_the_first_request(declared: Declared) -> str | None:
    """An alarm fires two minutes after a request finds no instance, and on nothing else."""
    adding = declared.step_policies(lambda policy: any(s.covers(0.0) and s.adjustment > 0 for s in policy.steps))
    alarms = [alarm for alarm in declared.wake_metric_alarms if adding & set(alarm.actions.get("ALARM", ()))]
    if not alarms:
        return "an alarm on HasBacklogWithoutCapacity must invoke a policy that adds instances"
    alarm, wanted = alarms[0], declared.queue_series("HasBacklogWithoutCapacity")
    if alarm.series != wanted:
        return f"{alarm.name} must watch {wanted}, got {alarm.series}"
    rule = ("GreaterThanOrEqualToThreshold", 1.0, 2, 2, "missing")
    found = (alarm.comparison, alarm.threshold, alarm.datapoints_to_alarm, alarm.evaluation_periods)
    found += (alarm.treat_missing_data,)
    return None if found == rule else f"{alarm.name} must fire by {rule}, got {found}"


@check
def wake_metric_never_removes(declared: Declared) -> str | None:
    """No alarm scales in on HasBacklogWithoutCapacity.

    It drops to 0 as soon as an instance runs, so that scaling in on it would end running requests.
    """
    removing = declared.step_policies(lambda policy: any(step.adjustment <= 0 for step in policy.steps))
    for alarm in declared.wake_metric_alarms:
        if removing & all_actions(alarm):
            return f"{alarm.name} must not invoke a policy that removes instances"
    return None


@check
def idle_reaches_zero(declared: Declared) -> str | None:
    """After a deployment and without requests, all instances end."""
    result = declared.simulate([], instances=declared.endpoint.initial_instances)
    if not result.at_zero:
        return f"an idle endpoint must reach 0 instances, got {_final_state(result)}"
    minutes = result.ended_at / 60
    return None if minutes <= _IDLE_MINUTES else f"it must take at most {_IDLE_MINUTES} minutes, got {minutes:.0f}"


@check
def one_request_wakes_it(declared: Declared) -> str | None:
    """At zero instances, one request starts an instance."""
    result = declared.simulate([Arrival(HOUR, _REQUEST_SECONDS)], instances=0)
    if result.requests[0].outcomes != ["Completed"]:
        return f"a request at 0 instances must complete, got {result.requests[0].outcomes} and {_final_state(result)}"
    allowed = _WAKE_SECONDS + _ASSUMPTIONS.startup + _REQUEST_SECONDS
    seconds = result.requests[0].time_to_result
    return None if seconds <= allowed else f"it must complete within {allowed:g} s, got {seconds:.0f} s"


@check
def burst_scales_out(declared: Declared) -> str | None:
    """A burst starts a second instance, if the maximum capacity allows two."""
    result = declared.simulate_pattern("burst")
    peak, wanted = max(minute.instances for minute in result.minutes), min(declared.scaling.target.max_capacity, 2)
    return None if peak >= wanted else f"a burst of {len(result.requests)} must start {wanted} instances, got {peak}"


@check
def every_request_is_answered_once(declared: Declared) -> str | None:
    """In every traffic pattern, each request completes exactly once."""
    for pattern in PATTERNS:
        result = declared.simulate_pattern(pattern)
        wrong = [request.outcomes for request in result.requests if request.outcomes != ["Completed"]]
        if wrong:
            return f"{pattern}: each request must complete once, got {wrong[0]} for {len(wrong)}"
    return None


@check
def load_returns_to_zero(declared: Declared) -> str | None:
    """After every traffic pattern, all instances end."""
    for pattern in PATTERNS:
        result = declared.simulate_pattern(pattern)
        if not result.at_zero:
            return f"{pattern}: the endpoint must return to 0 instances, got {_final_state(result)}"
    return None


def _final_state(result: SimulationResult) -> str:
    last = result.minutes[-1]
    return f"{last.instances}: " + ", ".join(f"{name} {state}" for name, state in last.alarms.items())
