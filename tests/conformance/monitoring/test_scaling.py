"""An endpoint that scales: alarms, bounds, schedules, suspension, cooldowns, and the activities that show it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace
from tests.conformance.endpoints import AsyncEndpoint

API = "https://docs.aws.amazon.com/autoscaling/application/APIReference"
GUIDE = "https://docs.aws.amazon.com/autoscaling/application/userguide"
CLI = "https://docs.aws.amazon.com/cli/latest/reference/application-autoscaling"
ACTIVITIES = f"{GUIDE}/application-auto-scaling-scaling-activities.html"
EXAMPLES = f"{CLI}/describe-scaling-activities.html"
REGISTER = f"{API}/API_RegisterScalableTarget.html"
SUSPEND = f"{GUIDE}/application-auto-scaling-suspend-resume-scaling.html"
STEPS = f"{GUIDE}/step-scaling-policy-overview.html"
EVERY_MINUTE = "cron(* * * * ? *)"
TEXTS = "AWS shows these texts for ECS and DynamoDB only; SageMaker's are as its users have published them"


class Scaled:
    """The variant of a running endpoint as a scalable target, and a metric that its alarms watch."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.endpoint = workspace, AsyncEndpoint(workspace)
        self.client, self.cloudwatch = workspace.client("application-autoscaling"), workspace.client("cloudwatch")
        self.identity = {
            "ServiceNamespace": "sagemaker",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
            "ResourceId": f"endpoint/{self.endpoint.name}/variant/AllTraffic",
        }
        self.namespace = workspace.name("scaling")

    def reset(self) -> None:
        """Wait for one instance, with bounds of 1 and 3 and nothing that scales."""
        for policy in self.client.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]:
            self.client.delete_scaling_policy(**self.identity, PolicyName=policy["PolicyName"])
        for action in self.client.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"]:
            self.client.delete_scheduled_action(**self.identity, ScheduledActionName=action["ScheduledActionName"])
        nothing = dict.fromkeys(("DynamicScalingIn", "DynamicScalingOut", "ScheduledScaling"), False)
        self.register(1, 1, SuspendedState={f"{name}Suspended": value for name, value in nothing.items()})
        self.await_instances(1)
        self.register(1, 3)

    def register(self, least: int, most: int, **more: Any) -> None:
        self.client.register_scalable_target(**self.identity, MinCapacity=least, MaxCapacity=most, **more)

    def bounds(self) -> tuple[int, int]:
        found = self.client.describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[self.identity["ResourceId"]]
        )
        [target] = found["ScalableTargets"]
        return target["MinCapacity"], target["MaxCapacity"]

    def step(self, adjustment: int, **settings: Any) -> tuple[str, str]:
        """Create a policy and an alarm that invokes it once there are samples; return the names of both."""
        policy, alarm = self.workspace.name("policy"), self.workspace.name("alarm")
        steps = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": adjustment}]
        arn = self.client.put_scaling_policy(
            **self.identity,
            PolicyName=policy,
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ChangeInCapacity",
                "StepAdjustments": steps,
                "Cooldown": 0,
                **settings,
            },
        )["PolicyARN"]
        self.alarm(alarm, AlarmActions=[arn])
        return policy, alarm

    def alarm(self, name: str, **settings: Any) -> None:
        rule = {"Threshold": 1.0, "ComparisonOperator": "GreaterThanOrEqualToThreshold", "EvaluationPeriods": 1}
        watched = {"Namespace": self.namespace, "MetricName": name, "Statistic": "Maximum", "Period": 60}
        self.cloudwatch.put_metric_alarm(AlarmName=name, Tags=self.workspace.tags, **{**watched, **rule, **settings})
        self.workspace.later(f"alarm {name}", lambda: self.cloudwatch.delete_alarms(AlarmNames=[name]))

    def publish(self, metric: str) -> None:
        self.cloudwatch.put_metric_data(Namespace=self.namespace, MetricData=[{"MetricName": metric, "Value": 1.0}])

    def is_alarmed(self, alarm: str) -> bool:
        self.publish(alarm)
        [found] = self.cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
        return found["StateValue"] == "ALARM"

    def await_alarm(self, alarm: str) -> None:
        self.workspace.wait(lambda: self.is_alarmed(alarm), f"{alarm} is in ALARM", 20)

    def feed_for_minutes(self, alarm: str, minutes: int) -> None:
        """Publish samples for an alarm until a witness has seen more than as many minutes with samples."""
        witness = self.workspace.name("alarm")
        self.alarm(witness, EvaluationPeriods=minutes)

        def passed() -> bool:
            self.publish(alarm)
            return self.is_alarmed(witness)

        self.workspace.wait(passed, f"{minutes} minutes have passed", 30)

    def instances(self) -> tuple[int, int]:
        """Return the current and the desired instance count."""
        [variant] = self.endpoint.describe()["ProductionVariants"]
        return variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]

    def await_instances(self, count: int, alarm: str = "") -> None:
        def reached() -> bool:
            if alarm:
                self.publish(alarm)
            settled = self.endpoint.describe()["EndpointStatus"] == "InService"
            return settled and self.instances() == (count, count)

        self.workspace.wait(reached, f"{count} instances", 60)

    def activities(self, cause: str = "", **more: Any) -> list[dict[str, Any]]:
        """Return the activities whose cause contains `cause`, the newest first."""
        found = self.client.describe_scaling_activities(**self.identity, **more)["ScalingActivities"]
        return [activity for activity in found if cause in activity["Cause"]]

    def await_activity(self, cause: str, status: str, **more: Any) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            return next((item for item in self.activities(cause, **more) if item["StatusCode"] == status), None)

        return self.workspace.wait(found, f"an activity: {cause}, {status}", 150)


@pytest.fixture(scope="module")
def endpoint(fast_workspace: Workspace) -> Scaled:
    """A running endpoint that is a scalable target."""
    made = Scaled(fast_workspace)
    made.endpoint.create()
    made.register(1, 3)
    deregister = made.client.deregister_scalable_target
    fast_workspace.later("scalable target", lambda: deregister(**made.identity))
    return made


@pytest.fixture
def scaled(endpoint: Scaled) -> Iterator[Scaled]:
    """The endpoint with one instance, which may have three."""
    endpoint.reset()
    yield endpoint


# ---- alarms and bounds -------------------------------------------------------------------------------------


@documented(ACTIVITIES, minutes=20)
def test_an_activity_is_in_progress_and_then_successful(scaled: Scaled) -> None:
    """After the target service responds, the status of the activity is InProgress; when scaled, Successful."""
    _, alarm = scaled.step(1, Cooldown=36_000)
    scaled.await_alarm(alarm)
    started = scaled.await_activity(alarm, "InProgress")
    assert "EndTime" not in started
    scaled.await_instances(2)
    ended = scaled.await_activity(alarm, "Successful")
    assert (ended["ActivityId"], ended["StartTime"]) == (started["ActivityId"], started["StartTime"])
    assert ended["EndTime"] > ended["StartTime"]


@documented(ACTIVITIES, minutes=20)
def test_the_cause_names_alarm_and_policy(scaled: Scaled) -> None:
    """Cause: monitor alarm <alarm> in state ALARM triggered policy <policy>."""
    policy, alarm = scaled.step(1, Cooldown=36_000)
    scaled.await_alarm(alarm)
    causes = {item["Cause"] for item in scaled.workspace.wait(lambda: scaled.activities(alarm), "an activity", 30)}
    assert causes == {f"monitor alarm {alarm} in state ALARM triggered policy {policy}"}


@documented(ACTIVITIES, unknown=TEXTS, minutes=20)
def test_the_description_says_what_was_set(scaled: Scaled) -> None:
    """An activity's description and message say which desired instance count was set."""
    scaled.register(2, 3)
    done = scaled.await_activity("minimum capacity was set to 2", "Successful")
    assert done["Description"] == "Setting desired instance count to 2."
    message = "Successfully set desired instance count to 2. Change successfully fulfilled by sagemaker."
    assert done["StatusMessage"] == message


@documented(REGISTER, minutes=20)
def test_new_bounds_change_the_capacity(scaled: Scaled) -> None:
    """If the current capacity is below the minimum or above the maximum capacity, it is placed within these bounds."""
    scaled.register(2, 3)
    scaled.await_instances(2)
    scaled.register(1, 1)
    scaled.await_instances(1)


@documented(EXAMPLES, minutes=20)
def test_the_cause_is_the_new_bound(scaled: Scaled) -> None:
    """Cause: minimum capacity was set to 2; maximum capacity was set to 1."""
    scaled.register(2, 3)
    scaled.await_instances(2)  # an earlier test may have left the same activity
    scaled.await_activity("minimum capacity was set to 2", "Successful")
    scaled.register(1, 1)
    scaled.await_activity("maximum capacity was set to 1", "Successful")


@documented(ACTIVITIES, minutes=20)
def test_what_the_maximum_prevents_is_not_scaled(scaled: Scaled) -> None:
    """With IncludeNotScaledActivities, a Failed activity has the reason AlreadyAtMaxCapacity, and the MaxCapacity."""
    scaled.register(1, 1)
    _, alarm = scaled.step(1)
    scaled.await_alarm(alarm)
    found = scaled.await_activity(alarm, "Failed", IncludeNotScaledActivities=True)
    assert found["NotScaledReasons"] == [{"Code": "AlreadyAtMaxCapacity", "MaxCapacity": 1}]
    assert scaled.activities(alarm) == []  # by default, not scaled activities are left out
    assert scaled.instances() == (1, 1)


@documented(STEPS, minutes=20)
def test_a_step_is_not_repeated_within_its_cooldown(scaled: Scaled) -> None:
    """The policy won't increase the desired capacity again unless a larger step is triggered or the cooldown ends."""
    _, alarm = scaled.step(1, Cooldown=36_000)
    scaled.await_alarm(alarm)
    scaled.await_instances(2, alarm)
    scaled.feed_for_minutes(alarm, 4)
    assert scaled.instances() == (2, 2)


@documented(STEPS, minutes=20)
def test_a_step_is_repeated_while_the_alarm_lasts(scaled: Scaled) -> None:
    """The adjustments can continue for additional alarm breaches until the alarm state returns to OK."""
    _, alarm = scaled.step(1, Cooldown=0)
    scaled.await_alarm(alarm)
    scaled.await_instances(3, alarm)


# ---- suspension --------------------------------------------------------------------------------------------


@documented(SUSPEND, minutes=20)
def test_suspended_scale_out_adds_no_capacity(scaled: Scaled) -> None:
    """While DynamicScalingOutSuspended, no capacity is added; once resumed, policies in breach are evaluated."""
    scaled.register(1, 3, SuspendedState={"DynamicScalingOutSuspended": True})
    _, alarm = scaled.step(1, Cooldown=36_000)
    scaled.feed_for_minutes(alarm, 4)
    assert scaled.instances() == (1, 1)
    scaled.register(1, 3, SuspendedState={"DynamicScalingOutSuspended": False})
    scaled.await_instances(2, alarm)


@documented(SUSPEND, minutes=20)
def test_suspended_scale_in_removes_no_capacity(scaled: Scaled) -> None:
    """While DynamicScalingInSuspended, Application Auto Scaling does not remove capacity."""
    scaled.register(2, 3)
    scaled.await_instances(2)
    scaled.register(1, 3, SuspendedState={"DynamicScalingInSuspended": True})
    _, alarm = scaled.step(-1)
    scaled.feed_for_minutes(alarm, 4)
    assert scaled.instances() == (2, 2)
    scaled.register(1, 3, SuspendedState={"DynamicScalingInSuspended": False})
    scaled.await_instances(1, alarm)


# ---- schedules ---------------------------------------------------------------------------------------------


def schedule(scaled: Scaled, least: int, most: int, **more: Any) -> str:
    name = scaled.workspace.name("action")
    scaled.client.put_scheduled_action(
        **scaled.identity,
        ScheduledActionName=name,
        Schedule=EVERY_MINUTE,
        ScalableTargetAction={"MinCapacity": least, "MaxCapacity": most},
        **more,
    )
    return name


@documented(f"{API}/API_ScalableTargetAction.html", minutes=20)
def test_a_scheduled_action_sets_bounds_and_scales(scaled: Scaled) -> None:
    """At the scheduled time, if the current capacity is below the minimum, it scales out to the minimum capacity."""
    schedule(scaled, 2, 2)
    scaled.await_instances(2)
    assert scaled.bounds() == (2, 2)


@documented(EXAMPLES, minutes=20)
def test_a_scheduled_action_is_an_activity(scaled: Scaled) -> None:
    """Cause: scheduled action name <name> was triggered; description: Setting min capacity to 1 and max ... to 2."""
    name = schedule(scaled, 1, 2)
    done = scaled.await_activity(f"scheduled action name {name} was triggered", "Successful")
    assert done["Description"] == "Setting min capacity to 1 and max capacity to 2"
    assert done["StatusMessage"] == "Successfully set min capacity to 1 and max capacity to 2"


@documented(SUSPEND, minutes=20)
def test_suspended_schedules_do_not_run(scaled: Scaled) -> None:
    """While ScheduledScalingSuspended, scheduled actions are not initiated."""
    scaled.register(1, 3, SuspendedState={"ScheduledScalingSuspended": True})
    schedule(scaled, 2, 2)
    scaled.feed_for_minutes("nothing", 4)
    assert (scaled.bounds(), scaled.instances()) == ((1, 3), (1, 1))


@documented(f"{API}/API_PutScheduledAction.html", minutes=20)
def test_a_schedule_begins_at_its_start_time(scaled: Scaled) -> None:
    """Start and end times form the boundaries for when the recurring action starts and stops."""
    schedule(scaled, 2, 2, StartTime="2100-01-01T00:00:00Z")
    name = schedule(scaled, 1, 2)
    scaled.await_activity(f"scheduled action name {name} was triggered", "Successful")
    assert (scaled.bounds(), scaled.instances()) == ((1, 2), (1, 1))


@documented(f"{API}/API_PutScheduledAction.html", minutes=20)
def test_a_schedule_ends_at_its_end_time(scaled: Scaled) -> None:
    """EndTime is the date and time for the recurring schedule to end, in UTC: afterwards the action does not run."""
    ended = schedule(scaled, 2, 2, EndTime=datetime.now(UTC) + timedelta(minutes=2))
    running = schedule(scaled, 1, 2)
    scaled.feed_for_minutes("nothing", 4)
    before = len(scaled.activities(f"scheduled action name {ended} was triggered"))
    scaled.await_activity(f"scheduled action name {running} was triggered", "Successful")
    scaled.feed_for_minutes("nothing", 4)
    assert len(scaled.activities(f"scheduled action name {ended} was triggered")) == before
    assert before <= 3


@documented(f"{API}/API_PutScheduledAction.html", minutes=20)
def test_a_deleted_start_time_lets_the_schedule_begin(scaled: Scaled) -> None:
    """If you don't specify start and end times in an update, the old values are deleted: the action then runs."""
    name = schedule(scaled, 1, 2, StartTime="2100-01-01T00:00:00Z")
    scaled.feed_for_minutes("nothing", 3)
    assert scaled.activities(f"scheduled action name {name} was triggered") == []
    scaled.client.put_scheduled_action(**scaled.identity, ScheduledActionName=name, Schedule=EVERY_MINUTE)
    scaled.await_activity(f"scheduled action name {name} was triggered", "Successful")
