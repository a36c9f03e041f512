"""How Application Auto Scaling chooses among policies, and its cooldowns."""

from collections.abc import Callable, Sequence

from conformance.behaviour import documented
from local_aws.autoscaling.rules.alarms import Alarm, AlarmEvaluator
from local_aws.autoscaling.rules.autoscaler import Autoscaler, ScalableTarget
from local_aws.autoscaling.rules.metrics import Metric, MetricSeries, MetricStore
from local_aws.autoscaling.rules.policies import StepAdjustment, StepScaling, TargetTracking

Filled = Callable[..., MetricStore]
TARGET = ScalableTarget("endpoint/e/variant/v", 0, 10)


def series(name: str) -> MetricSeries:
    return MetricSeries(Metric.of("N", name, {}), "Average", 60)


def tracking(name: str = "backlog", **settings: bool) -> TargetTracking:
    return TargetTracking(name, name, series(name), 4.0, **settings)


def step(adjustment: int, *, cooldown: float = 300.0, name: str = "step") -> tuple[StepScaling, AlarmEvaluator]:
    """Return a policy that changes capacity by `adjustment`, and an alarm in ALARM while its metric is 1."""
    policy = StepScaling(name, name, "ChangeInCapacity", (StepAdjustment(adjustment, 0),), cooldown)
    metric = series(f"{name}-metric")
    alarm = Alarm(name, metric, "GreaterThanOrEqualToThreshold", 1.0, 1, 1, actions={"ALARM": (name,)})
    return policy, AlarmEvaluator(alarm)


class Clock:
    """Feed metrics minute by minute and apply the autoscaler's decisions."""

    def __init__(self, autoscaler: Autoscaler, alarms: Sequence[AlarmEvaluator] = (), *, capacity: int) -> None:
        self.autoscaler, self.alarms, self.capacity = autoscaler, alarms, capacity
        self.store, self.minute = MetricStore(), 0

    def advance(self, minutes: int = 1, *, settled: bool = True, **values: float) -> list[int]:
        history: list[int] = []
        for _ in range(minutes):
            for name, value in values.items():
                self.store.put(Metric.of("N", name.replace("_", "-"), {}), value, 60.0 * self.minute)
            self.minute += 1
            now = 60.0 * self.minute
            for alarm in self.alarms:
                alarm.evaluate(self.store, now)
            decision = self.autoscaler.decide(self.store, self.alarms, now, desired=self.capacity, settled=settled)
            self.capacity = decision.desired if decision else self.capacity
            history.append(self.capacity)
        return history


def test_tracking_scales_out_after_three_minutes_and_in_after_fifteen() -> None:
    clock = Clock(Autoscaler(TARGET, [tracking()]), capacity=1)
    assert clock.advance(3, backlog=8.0) == [1, 1, 2]
    assert clock.advance(15, backlog=1.0) == [2] * 14 + [1]


@documented(
    "https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html"
)
def test_tracking_does_not_scale_without_data() -> None:
    """A target tracking scaling policy does not scale in when the state of the alarm is INSUFFICIENT_DATA."""
    clock = Clock(Autoscaler(TARGET, [tracking()]), capacity=3)
    assert clock.advance(60) == [3] * 60


@documented("https://docs.aws.amazon.com/autoscaling/application/APIReference/API_RegisterScalableTarget.html")
def test_capacity_stays_within_the_target() -> None:
    """Scaling policies will not scale capacity to values that are outside of the minimum and maximum range."""
    clock = Clock(Autoscaler(ScalableTarget("r", 2, 5), [tracking()]), capacity=3)
    assert clock.advance(3, backlog=400.0)[-1] == 5
    assert clock.advance(20, backlog=0.0)[-1] == 2


def test_low_alarm_never_adds_instances() -> None:
    clock = Clock(Autoscaler(TARGET, [tracking()]), capacity=0)
    assert clock.advance(30, backlog=1.0) == [0] * 30


@documented(
    "https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html"
)
def test_scale_in_needs_all_tracking_policies_with_scale_in_enabled() -> None:
    """With several target tracking policies, it scales in only if all of them, with the scale-in portion enabled,
    are ready to.
    """
    autoscaler = Autoscaler(TARGET, [tracking("a"), tracking("b"), tracking("c", disable_scale_in=True)])
    clock = Clock(autoscaler, capacity=4)
    assert clock.advance(20, a=0.0, b=4.0, c=4.0)[-1] == 4
    assert clock.advance(15, a=0.0, b=2.0, c=4.0)[-1] == 2


@documented(
    "https://docs.aws.amazon.com/autoscaling/application/APIReference/API_TargetTrackingScalingPolicyConfiguration.html"
)
def test_disabled_scale_in_keeps_capacity() -> None:
    """With DisableScaleIn, the target tracking policy won't remove capacity from the scalable target."""
    clock = Clock(Autoscaler(TARGET, [tracking(disable_scale_in=True)]), capacity=4)
    assert clock.advance(30, backlog=0.0)[-1] == 4


@documented("https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html")
def test_largest_capacity_wins() -> None:
    """If policies conflict, the one that provides the largest capacity has precedence, for both scale out and
    scale in.
    """
    policy, alarm = step(3)
    clock = Clock(Autoscaler(TARGET, [policy, tracking()]), [alarm], capacity=1)
    assert clock.advance(3, backlog=8.0, step_metric=0.0) == [1, 1, 2]
    assert clock.advance(1, backlog=8.0, step_metric=1.0) == [5]


@documented("https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html")
def test_step_repeats_only_after_its_cooldown() -> None:
    """During the cooldown after a successful scale-out, the same alarm does not increase the capacity again."""
    policy, alarm = step(2, cooldown=180.0)
    clock = Clock(Autoscaler(TARGET, [policy]), [alarm], capacity=1)
    # The activity completes when the endpoint has settled, a minute after the decision; the cooldown is three more.
    assert clock.advance(9, step_metric=1.0) == [3, 3, 3, 3, 5, 5, 5, 5, 7]


@documented("https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html")
def test_larger_step_during_the_cooldown_adds_the_difference() -> None:
    """The capacity added by the activity that started the cooldown is calculated as part of what the next scale-
    out adds.
    """
    policy = StepScaling("p", "p", "ChangeInCapacity", (StepAdjustment(2, 0, 10), StepAdjustment(3, 10)), 600.0)
    alarm = Alarm("p", series("m"), "GreaterThanOrEqualToThreshold", 1.0, 1, 1, actions={"ALARM": ("p",)})
    clock = Clock(Autoscaler(TARGET, [policy]), [AlarmEvaluator(alarm)], capacity=1)
    assert clock.advance(1, m=1.0) == [3]
    assert clock.advance(1, m=20.0) == [4]


def test_scale_in_waits_for_its_cooldown() -> None:
    policy, alarm = step(-1, cooldown=180.0)
    clock = Clock(Autoscaler(TARGET, [policy]), [alarm], capacity=5)
    assert clock.advance(6, step_metric=1.0) == [4, 4, 4, 4, 3, 3]


@documented("https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html")
def test_scale_out_ends_the_cooldown_of_a_scale_in() -> None:
    """If a scale-out happens during the cooldown of a scale-in, it scales out at once, and that cooldown stops."""
    (shrink, shrinks), (grow, grows) = step(-1, cooldown=6000.0, name="less"), step(1, cooldown=0.0, name="more")
    clock = Clock(Autoscaler(TARGET, [shrink, grow]), [shrinks, grows], capacity=5)
    assert clock.advance(2, less_metric=1.0, more_metric=0.0) == [4, 4]
    assert clock.advance(1, less_metric=0.0, more_metric=1.0) == [5]
    assert clock.advance(1, less_metric=1.0, more_metric=0.0) == [4]


def test_nothing_changes_while_the_endpoint_is_updating() -> None:
    policy, alarm = step(1, cooldown=0.0)
    clock = Clock(Autoscaler(TARGET, [policy]), [alarm], capacity=0)
    assert clock.advance(5, settled=False, step_metric=1.0) == [0] * 5
    assert clock.advance(1, step_metric=1.0) == [1]
