"""Application Auto Scaling's choices among policies, and its cooldowns."""

from collections.abc import Callable, Sequence

from local_aws.autoscaling.alarms import Alarm, AlarmWatch
from local_aws.autoscaling.autoscaler import Autoscaler, ScalableTarget
from local_aws.autoscaling.metrics import Metric, MetricStore
from local_aws.autoscaling.series import MetricSeries
from local_aws.autoscaling.step_scaling import Step, StepScaling
from local_aws.autoscaling.target_tracking import TargetTracking

Filled = Callable[..., MetricStore]
TARGET = ScalableTarget("endpoint/e/variant/v", 0, 10)


def series(name: str) -> MetricSeries:
    return MetricSeries(Metric.of("N", name, {}), "Average", 60)


def tracking(name: str = "backlog", **settings: bool) -> TargetTracking:
    return TargetTracking(name, name, series(name), 4.0, **settings)


def step(adjustment: int, *, cooldown: float = 300.0, name: str = "step") -> tuple[StepScaling, AlarmWatch]:
    """A policy that changes capacity by `adjustment`, and an alarm that is on while its metric is 1."""
    policy = StepScaling(name, name, "ChangeInCapacity", (Step(adjustment, 0),), cooldown)
    watched = series(f"{name}-metric")
    alarm = Alarm(name, watched, "GreaterThanOrEqualToThreshold", 1.0, 1, 1, actions={"ALARM": (name,)})
    return policy, AlarmWatch(alarm)


class Minutes:
    """Feeds metrics minute by minute and applies what the autoscaler decides."""

    def __init__(self, autoscaler: Autoscaler, watches: Sequence[AlarmWatch] = (), *, capacity: int) -> None:
        self.autoscaler, self.watches, self.capacity = autoscaler, watches, capacity
        self.store, self.minute = MetricStore(), 0

    def pass_with(self, minutes: int = 1, *, settled: bool = True, **values: float) -> list[int]:
        history: list[int] = []
        for _ in range(minutes):
            for name, value in values.items():
                self.store.put(Metric.of("N", name.replace("_", "-"), {}), value, 60.0 * self.minute)
            self.minute += 1
            now = 60.0 * self.minute
            for watch in self.watches:
                watch.evaluate(self.store, now)
            decision = self.autoscaler.decide(self.store, self.watches, now, desired=self.capacity, settled=settled)
            self.capacity = decision.desired if decision else self.capacity
            history.append(self.capacity)
        return history


def test_tracking_scales_out_after_three_minutes_and_in_after_fifteen() -> None:
    minutes = Minutes(Autoscaler(TARGET, [], [tracking()]), capacity=1)
    assert minutes.pass_with(3, backlog=8.0) == [1, 1, 2]
    assert minutes.pass_with(15, backlog=1.0) == [2] * 14 + [1]


def test_tracking_never_scales_without_data() -> None:
    minutes = Minutes(Autoscaler(TARGET, [], [tracking()]), capacity=3)
    assert minutes.pass_with(60) == [3] * 60


def test_capacity_stays_within_the_target() -> None:
    minutes = Minutes(Autoscaler(ScalableTarget("r", 2, 5), [], [tracking()]), capacity=3)
    assert minutes.pass_with(3, backlog=400.0)[-1] == 5
    assert minutes.pass_with(20, backlog=0.0)[-1] == 2


def test_low_alarm_only_removes() -> None:
    minutes = Minutes(Autoscaler(TARGET, [], [tracking()]), capacity=0)
    assert minutes.pass_with(30, backlog=1.0) == [0] * 30


def test_scale_in_needs_every_tracking_policy_that_scales_in() -> None:
    autoscaler = Autoscaler(TARGET, [], [tracking("a"), tracking("b"), tracking("c", disable_scale_in=True)])
    minutes = Minutes(autoscaler, capacity=4)
    assert minutes.pass_with(20, a=0.0, b=4.0, c=4.0)[-1] == 4
    assert minutes.pass_with(15, a=0.0, b=2.0, c=4.0)[-1] == 2


def test_disabled_scale_in_keeps_capacity() -> None:
    minutes = Minutes(Autoscaler(TARGET, [], [tracking(disable_scale_in=True)]), capacity=4)
    assert minutes.pass_with(30, backlog=0.0)[-1] == 4


def test_largest_wish_wins() -> None:
    policy, watch = step(3)
    minutes = Minutes(Autoscaler(TARGET, [policy], [tracking()]), [watch], capacity=1)
    assert minutes.pass_with(3, backlog=8.0, step_metric=0.0) == [1, 1, 2]
    assert minutes.pass_with(1, backlog=8.0, step_metric=1.0) == [5]


def test_step_repeats_after_its_cooldown_only() -> None:
    policy, watch = step(2, cooldown=180.0)
    minutes = Minutes(Autoscaler(TARGET, [policy], []), [watch], capacity=1)
    # Completed when the endpoint is seen settled, a minute after the decision; three more minutes are the cooldown.
    assert minutes.pass_with(9, step_metric=1.0) == [3, 3, 3, 3, 5, 5, 5, 5, 7]


def test_larger_step_within_the_cooldown_adds_the_difference() -> None:
    policy = StepScaling("p", "p", "ChangeInCapacity", (Step(2, 0, 10), Step(3, 10)), 600.0)
    alarm = Alarm("p", series("m"), "GreaterThanOrEqualToThreshold", 1.0, 1, 1, actions={"ALARM": ("p",)})
    minutes = Minutes(Autoscaler(TARGET, [policy], []), [AlarmWatch(alarm)], capacity=1)
    assert minutes.pass_with(1, m=1.0) == [3]
    assert minutes.pass_with(1, m=20.0) == [4]


def test_scale_in_waits_for_its_cooldown() -> None:
    policy, watch = step(-1, cooldown=180.0)
    minutes = Minutes(Autoscaler(TARGET, [policy], []), [watch], capacity=5)
    assert minutes.pass_with(6, step_metric=1.0) == [4, 4, 4, 4, 3, 3]


def test_scale_out_ends_the_cooldown_of_a_scale_in() -> None:
    (shrink, shrinks), (grow, grows) = step(-1, cooldown=6000.0, name="less"), step(1, cooldown=0.0, name="more")
    minutes = Minutes(Autoscaler(TARGET, [shrink, grow], []), [shrinks, grows], capacity=5)
    assert minutes.pass_with(2, less_metric=1.0, more_metric=0.0) == [4, 4]
    assert minutes.pass_with(1, less_metric=0.0, more_metric=1.0) == [5]
    assert minutes.pass_with(1, less_metric=1.0, more_metric=0.0) == [4]


def test_nothing_changes_while_the_endpoint_is_updating() -> None:
    policy, watch = step(1, cooldown=0.0)
    minutes = Minutes(Autoscaler(TARGET, [policy], []), [watch], capacity=0)
    assert minutes.pass_with(5, settled=False, step_metric=1.0) == [0] * 5
    assert minutes.pass_with(1, step_metric=1.0) == [1]
