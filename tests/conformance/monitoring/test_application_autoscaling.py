"""Application Auto Scaling's API: targets, policies and scheduled actions of endpoint variants."""

from datetime import UTC, datetime
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code

API = "https://docs.aws.amazon.com/autoscaling/application/APIReference"
GUIDE = "https://docs.aws.amazon.com/autoscaling/application/userguide"
REGISTER = f"{API}/API_RegisterScalableTarget.html"
STEPS = f"{GUIDE}/step-scaling-policy-overview.html"
POLICY = f"{API}/API_PutScalingPolicy.html"
SCHEDULE = f"{API}/API_PutScheduledAction.html"
QUOTAS = f"{GUIDE}/application-auto-scaling-quotas.html"


class Variant:
    """A variant of an endpoint that does not exist, as a scalable variant."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.client = workspace, workspace.client("application-autoscaling")
        self.identity = {
            "ServiceNamespace": "sagemaker",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
            "ResourceId": f"endpoint/{workspace.name('endpoint')}/variant/AllTraffic",
        }

    def register(self, **settings: Any) -> "Variant":
        self.client.register_scalable_target(**self.identity, **settings)
        self.workspace.later("scalable target", lambda: self.client.deregister_scalable_target(**self.identity))
        return self

    def describe(self) -> dict[str, Any]:
        answer = self.client.describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[self.identity["ResourceId"]]
        )
        [found] = answer["ScalableTargets"]
        return found

    def step(self, *steps: dict[str, Any], kind: str = "ChangeInCapacity", name: str = "step") -> dict[str, Any]:
        settings = {"AdjustmentType": kind, "StepAdjustments": list(steps)}
        return self.client.put_scaling_policy(
            **self.identity, PolicyName=name, PolicyType="StepScaling", StepScalingPolicyConfiguration=settings
        )

    def track(self, **settings: Any) -> dict[str, Any]:
        metric = {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": self.identity["ResourceId"].split("/")[1]}],
            "Statistic": "Average",
        }
        settings = {"TargetValue": 4.0, "CustomizedMetricSpecification": metric, **settings}
        return self.client.put_scaling_policy(
            **self.identity,
            PolicyName="track",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={key: value for key, value in settings.items() if value},
        )

    def schedule(self, schedule: str, name: str = "action", **more: Any) -> Any:
        more = {"ScalableTargetAction": {"MinCapacity": 1, "MaxCapacity": 2}, **more}
        return self.client.put_scheduled_action(**self.identity, ScheduledActionName=name, Schedule=schedule, **more)

    def policies(self) -> list[dict[str, Any]]:
        found = self.client.describe_scaling_policies(**self.identity)
        return found["ScalingPolicies"]

    def actions(self) -> list[dict[str, Any]]:
        return self.client.describe_scheduled_actions(**self.identity)["ScheduledActions"]


@pytest.fixture
def unregistered(workspace: Workspace) -> Variant:
    """A target that is not registered."""
    return Variant(workspace)


@pytest.fixture
def variant(unregistered: Variant) -> Variant:
    """A target with 0 to 3 instances."""
    return unregistered.register(MinCapacity=0, MaxCapacity=3)


# ---- targets -----------------------------------------------------------------------------------------------


@documented(REGISTER)
@pytest.mark.parametrize("given", [{}, {"MinCapacity": 0}, {"MaxCapacity": 1}])
def test_a_new_target_needs_both_bounds(unregistered: Variant, given: dict[str, int]) -> None:
    """When you register a new scalable target, you must specify values for the minimum and maximum capacity."""
    assert error_code(lambda: unregistered.register(**given))[0] == "ValidationException"


@documented(REGISTER)
def test_an_endpoint_may_have_no_instances(variant: Variant) -> None:
    """For SageMaker endpoint variants, the minimum value allowed is 0."""
    assert (variant.describe()["MinCapacity"], variant.describe()["MaxCapacity"]) == (0, 3)


@documented(REGISTER)
@pytest.mark.parametrize("bounds", [(-1, 1), (2, 1)])
def test_bounds_are_in_order(unregistered: Variant, bounds: tuple[int, int]) -> None:
    """A minimum below what the resource accepts, 0 for endpoint variants, is an error; so is one above the maximum."""
    least, most = bounds
    assert error_code(lambda: unregistered.register(MinCapacity=least, MaxCapacity=most))[0] == "ValidationException"


@documented(REGISTER)
def test_an_update_keeps_what_is_not_given(variant: Variant) -> None:
    """Any parameters that you don't specify are not changed by an update request."""
    variant.register(MaxCapacity=5)
    assert (variant.describe()["MinCapacity"], variant.describe()["MaxCapacity"]) == (0, 5)
    assert error_code(lambda: variant.register(MinCapacity=6))[0] == "ValidationException"


@documented(REGISTER)
def test_suspension_is_described(variant: Variant) -> None:
    """SuspendedState suspends scale-in, scale-out and scheduled scaling separately; false is the default."""
    variant.register(SuspendedState={"DynamicScalingOutSuspended": True})
    assert variant.describe()["SuspendedState"]["DynamicScalingOutSuspended"]
    assert not variant.describe()["SuspendedState"].get("DynamicScalingInSuspended", False)


@documented(f"{API}/API_DeregisterScalableTarget.html")
def test_deregistering_deletes_policies_and_actions(variant: Variant) -> None:
    """Deregistering a scalable target deletes the scaling policies and the scheduled actions associated with it."""
    variant.step({"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1})
    variant.schedule("cron(0 8 ? * MON *)")
    variant.client.deregister_scalable_target(**variant.identity)
    assert (variant.policies(), variant.actions()) == ([], [])


@documented(f"{API}/API_DeregisterScalableTarget.html")
def test_deregistering_an_unknown_target_fails(unregistered: Variant) -> None:
    """ObjectNotFoundException is thrown by an operation that deregisters a resource if it cannot be found."""
    call = unregistered.client.deregister_scalable_target
    assert error_code(lambda: call(**unregistered.identity))[0] == "ObjectNotFoundException"


@documented(REGISTER)
def test_a_dimension_belongs_to_its_service(unregistered: Variant) -> None:
    """The scalable dimension consists of the service namespace, resource type and scaling property."""
    call = unregistered.client.register_scalable_target
    other = {**unregistered.identity, "ScalableDimension": "ecs:service:DesiredCount"}
    assert error_code(lambda: call(**other, MinCapacity=0, MaxCapacity=1))[0] == "ValidationException"


# ---- policies ----------------------------------------------------------------------------------------------


@documented(POLICY)
def test_a_policy_needs_a_target(unregistered: Variant) -> None:
    """You cannot create a scaling policy until you have registered the resource as a scalable target."""
    step = {"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}
    assert error_code(lambda: unregistered.step(step))[0] == "ObjectNotFoundException"


@documented(POLICY)
def test_an_updated_policy_keeps_its_arn(variant: Variant) -> None:
    """PutScalingPolicy creates or updates a scaling policy: the same name is the same policy."""
    first = variant.step({"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1})
    second = variant.step({"MetricIntervalLowerBound": 0, "ScalingAdjustment": 2})
    assert first["PolicyARN"] == second["PolicyARN"]
    assert len(variant.policies()) == 1


@documented(STEPS)
@pytest.mark.parametrize(
    "steps",
    [
        [(0, 10), (5, None)],  # an overlap
        [(0, 10), (20, None)],  # a gap
        [(10, 0)],
        [(0, None), (10, None)],
        [(0, 10)],  # a positive upper bound, and no step without one
        [(-10, 0)],  # a negative lower bound, and no step without one
        [(None, None)],  # both bounds null
    ],
)
def test_step_intervals_are_contiguous(variant: Variant, steps: list[tuple[int | None, int | None]]) -> None:
    """The ranges of step adjustments can't overlap or have a gap; positive and negative ones need one that is open."""
    adjustments: list[dict[str, Any]] = []
    for lower, upper in steps:
        bounds = {"MetricIntervalLowerBound": lower, "MetricIntervalUpperBound": upper}
        adjustments.append(
            {"ScalingAdjustment": 1, **{name: value for name, value in bounds.items() if value is not None}}
        )
    assert error_code(lambda: variant.step(*adjustments))[0] == "ValidationException"


@documented(f"{API}/API_StepAdjustment.html")
def test_an_exact_capacity_is_not_negative(variant: Variant) -> None:
    """For exact capacity, you must specify a non-negative value."""
    step = {"MetricIntervalLowerBound": 0, "ScalingAdjustment": -1}
    assert error_code(lambda: variant.step(step, kind="ExactCapacity"))[0] == "ValidationException"


@documented(QUOTAS)
def test_a_policy_has_at_most_20_steps(variant: Variant) -> None:
    """Step adjustments per step scaling policy: 20. LimitExceededException: a resource limit is exceeded."""
    steps = [{"MetricIntervalLowerBound": n, "MetricIntervalUpperBound": n + 1} for n in range(20)]
    steps = [{**step, "ScalingAdjustment": 1} for step in [*steps, {"MetricIntervalLowerBound": 20}]]
    assert variant.step({**steps[0], "MetricIntervalLowerBound": 1, "MetricIntervalUpperBound": 2}, *steps[2:])
    assert error_code(lambda: variant.step(*steps))[0] == "LimitExceededException"


@documented(QUOTAS)
def test_a_target_has_at_most_50_policies(variant: Variant) -> None:
    """Scaling policies per scalable target (both step scaling and target tracking policies): 50."""
    step = {"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}
    for number in range(50):
        variant.step(step, name=f"step{number}")
    assert error_code(lambda: variant.step(step, name="step50"))[0] == "LimitExceededException"


@documented(f"{GUIDE}/create-target-tracking-policy-cli.html")
def test_target_tracking_creates_two_alarms(variant: Variant) -> None:
    """PutScalingPolicy returns the ARNs and names of the two CloudWatch alarms created on your behalf."""
    alarms = variant.track()["Alarms"]
    names = sorted(alarm["AlarmName"] for alarm in alarms)
    resource = variant.identity["ResourceId"]
    assert [name.rsplit("-", 5)[0] for name in names] == [
        f"TargetTracking-{resource}-AlarmHigh",
        f"TargetTracking-{resource}-AlarmLow",
    ]
    found = variant.workspace.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    assert len(found) == 2
    assert all(alarm["AlarmActions"] for alarm in found)


@documented(f"{GUIDE}/delete-target-tracking-policy.html")
def test_deleting_target_tracking_deletes_its_alarms(variant: Variant) -> None:
    """Deleting a target tracking policy also deletes the CloudWatch alarms created on your behalf."""
    names = [alarm["AlarmName"] for alarm in variant.track()["Alarms"]]
    variant.client.delete_scaling_policy(**variant.identity, PolicyName="track")
    assert names
    assert variant.workspace.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"] == []


@documented(f"{API}/API_TargetTrackingScalingPolicyConfiguration.html")
def test_target_tracking_needs_a_metric(variant: Variant) -> None:
    """You can specify either a predefined metric or a customized metric."""
    assert error_code(lambda: variant.track(CustomizedMetricSpecification=None))[0] == "ValidationException"


@documented(f"{API}/API_DeleteScalingPolicy.html")
def test_deleting_an_unknown_policy_fails(variant: Variant) -> None:
    """ObjectNotFoundException is thrown by an operation that deletes a resource, a policy, if it cannot be found."""
    call = variant.client.delete_scaling_policy
    assert error_code(lambda: call(**variant.identity, PolicyName="absent"))[0] == "ObjectNotFoundException"


# ---- scheduled actions -------------------------------------------------------------------------------------


@documented(SCHEDULE)
def test_a_scheduled_action_needs_a_target(unregistered: Variant) -> None:
    """You cannot create a scheduled action until you have registered the resource as a scalable target."""
    assert error_code(lambda: unregistered.schedule("cron(0 8 ? * MON *)"))[0] == "ObjectNotFoundException"


@documented(SCHEDULE)
@pytest.mark.parametrize("schedule", ["at(2035-01-01T08:00:00)", "cron(0 8 ? * MON-FRI *)"])
def test_schedules_are_at_and_cron(variant: Variant, schedule: str) -> None:
    """At, rate and cron expressions are supported; the cron format consists of six fields."""
    variant.schedule(schedule)
    assert [action["Schedule"] for action in variant.actions()] == [schedule]


@documented(SCHEDULE, differs="rate() is refused: when it first runs depends on a creation time that simulations lack")
def test_schedules_may_be_rates(variant: Variant) -> None:
    """Rate expressions are supported: rate(value unit), for actions that run at a regular interval."""
    variant.schedule("rate(1 hour)")


@documented(SCHEDULE)
@pytest.mark.parametrize("schedule", ["cron(0 8 * * *)", "at(tomorrow)", "every hour"])
def test_other_schedules_are_refused(variant: Variant, schedule: str) -> None:
    """A schedule that is no at, rate or cron expression is refused with ValidationException."""
    assert error_code(lambda: variant.schedule(schedule))[0] == "ValidationException"


@documented(SCHEDULE)
def test_a_schedule_has_a_time_zone(variant: Variant) -> None:
    """Valid values of Timezone are the canonical names of the IANA time zones."""
    variant.schedule("cron(0 8 ? * MON *)", Timezone="Europe/Berlin")
    assert variant.actions()[0]["Timezone"] == "Europe/Berlin"
    refused = error_code(lambda: variant.schedule("cron(0 8 ? * MON *)", Timezone="Mars/Olympus"))
    assert refused[0] == "ValidationException"


@documented(SCHEDULE)
def test_an_update_without_times_deletes_them(variant: Variant) -> None:
    """To update a scheduled action, specify what you want to change; start and end times not given are deleted."""
    variant.schedule("cron(0 8 ? * MON *)", StartTime="2035-01-01T00:00:00Z", EndTime="2036-01-01T00:00:00Z")
    assert {"StartTime", "EndTime"} <= variant.actions()[0].keys()
    variant.client.put_scheduled_action(**variant.identity, ScheduledActionName="action", Timezone="Europe/Berlin")
    [action] = variant.actions()
    assert (action["Schedule"], action["Timezone"]) == ("cron(0 8 ? * MON *)", "Europe/Berlin")
    assert not {"StartTime", "EndTime"} & action.keys()


@documented(SCHEDULE)
def test_start_and_end_are_times_in_utc(variant: Variant) -> None:
    """StartTime: the date and time for this action to start, in UTC. EndTime: for the recurring schedule to end."""
    start, end = datetime(2035, 1, 1, 8, tzinfo=UTC), datetime(2035, 2, 1, 8, tzinfo=UTC)
    variant.schedule("cron(0 8 ? * MON *)", StartTime=start, EndTime=end, Timezone="Europe/Berlin")
    [action] = variant.actions()
    assert (action["StartTime"], action["EndTime"]) == (start, end)


@documented(SCHEDULE)
def test_start_and_end_are_optional_one_by_one(variant: Variant) -> None:
    """You can optionally specify a date and time for the start time, the end time, or both."""
    variant.schedule("cron(0 8 ? * MON *)", name="from", StartTime="2035-01-01T00:00:00Z")
    variant.schedule("cron(0 8 ? * MON *)", name="until", EndTime="2035-01-01T00:00:00Z")
    found = {action["ScheduledActionName"]: {"StartTime", "EndTime"} & action.keys() for action in variant.actions()}
    assert found == {"from": {"StartTime"}, "until": {"EndTime"}}


@documented(
    SCHEDULE, unknown="AWS does not say that the end must follow the start; an action that never runs is refused"
)
def test_an_end_follows_its_start(variant: Variant) -> None:
    """Start and end times form the boundaries for when the recurring action starts and stops."""
    times = {"StartTime": "2036-01-01T00:00:00Z", "EndTime": "2035-01-01T00:00:00Z"}
    assert error_code(lambda: variant.schedule("cron(0 8 ? * MON *)", **times))[0] == "ValidationException"


@documented(f"{API}/API_DeleteScheduledAction.html")
def test_deleting_an_unknown_action_fails(variant: Variant) -> None:
    """ObjectNotFoundException is thrown by an operation that deletes a resource, an action, if it cannot be found."""
    call = variant.client.delete_scheduled_action
    assert error_code(lambda: call(**variant.identity, ScheduledActionName="absent"))[0] == "ObjectNotFoundException"


# ---- activities --------------------------------------------------------------------------------------------


@documented(f"{API}/API_DescribeScalingActivities.html")
def test_a_target_without_scaling_has_no_activities(variant: Variant) -> None:
    """You can filter the scaling activities using ResourceId and ScalableDimension."""
    assert variant.client.describe_scaling_activities(**variant.identity)["ScalingActivities"] == []


@documented(f"{API}/API_DescribeScalingActivities.html")
def test_a_dimension_needs_its_resource(variant: Variant) -> None:
    """If you specify a scalable dimension, you must also specify a resource ID."""
    call = variant.client.describe_scaling_activities
    some = {name: variant.identity[name] for name in ("ServiceNamespace", "ScalableDimension")}
    assert error_code(lambda: call(**some))[0] == "ValidationException"
