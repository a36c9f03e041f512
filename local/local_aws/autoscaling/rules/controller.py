"""Run one endpoint's scaling minute by minute: publish its metrics, evaluate the alarms, apply the decision."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from local_aws.autoscaling.rules.alarm_monitor import AlarmMonitor
from local_aws.autoscaling.rules.alarms import AlarmState
from local_aws.autoscaling.rules.autoscaler import Autoscaler, Decision, NotScaled, ScalableTarget
from local_aws.autoscaling.rules.endpoint_metrics import EndpointLoad, endpoint_samples, unit_of
from local_aws.autoscaling.rules.metrics import Metric
from local_aws.autoscaling.rules.scaling_config import ScalingConfig, endpoint_and_variant
from local_aws.autoscaling.rules.scheduled_actions import ScheduledAction

PERIOD_SECONDS = 60.0
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
TRACKING_PREFIX = "TargetTracking-endpoint/"  # of the alarms that a target tracking policy creates in CloudWatch


class ScalableVariant(Protocol):
    """An endpoint's production variant, whose instances are scaled.

    `load`: the current load, with the events since the previous call; `desired`: the last requested instance count;
    `settled`: whether the endpoint has reached that count and accepts another change.
    """

    def load(self) -> EndpointLoad: ...

    @property
    def desired(self) -> int: ...

    @property
    def settled(self) -> bool: ...

    def apply(self, decision: Decision) -> None: ...


@dataclass(frozen=True)
class Minute:
    """The controller's input and decision in one minute; `at` in seconds of its clock."""

    at: float
    backlog: int
    instances: int
    desired: int
    alarms: Mapping[str, AlarmState]
    published: Sequence[tuple[Metric, float]]
    decision: Decision | None
    not_scaled: NotScaled | None = None


class Controller:
    """Scale `variant` according to `config`, which `deploy` may replace at any time.

    `monitor` holds the account's samples and alarms, by default only this endpoint's. `on_scheduled` is called when a
    scheduled action has set bounds. `epoch` is the time of day at 0 seconds of the clock; the default is a Monday's
    midnight.
    """

    def __init__(
        self,
        config: ScalingConfig,
        variant: ScalableVariant,
        monitor: AlarmMonitor | None = None,
        on_scheduled: Callable[[ScheduledAction, ScalableTarget], None] | None = None,
        *,
        epoch: datetime = MONDAY,
    ) -> None:
        self.resource_id = config.target.resource_id
        self.endpoint, self.variant_name = endpoint_and_variant(self.resource_id)
        self._variant = variant
        self._monitor = monitor or AlarmMonitor()
        self._on_scheduled = on_scheduled
        self._epoch = epoch
        self._config = config
        self._autoscaler = Autoscaler(config.target, config.policies)
        self._autoscaler.register(config.target, enforce=True)
        self._load = EndpointLoad(0, 0.0, ())
        self.published: Sequence[tuple[Metric, float]] = ()
        self.deploy(config)

    def deploy(self, config: ScalingConfig) -> None:
        """Replace the configuration. Changed policies start over; changed bounds are enforced at once."""
        if self._config.policies != config.policies:
            self._autoscaler = Autoscaler(config.target, config.policies)
        changed = config.target != self._autoscaler.target or self._config.target != config.target
        self._config = config
        self._autoscaler.register(config.target, enforce=changed)
        self._monitor.deploy(config.alarms)

    @property
    def settled(self) -> bool:
        """Whether the variant has reached its instance count and accepts another change."""
        return self._variant.settled

    def tick(self, now: float) -> Minute:
        """Process the minute that ends at `now`: sample, evaluate the alarms, scale."""
        self.sample(now)
        self._monitor.evaluate(now)
        return self.scale(now)

    def sample(self, now: float) -> None:
        """Measure the minute that ends at `now`. Its samples carry the minute's start, as on CloudWatch."""
        self._run_scheduled_actions(now)
        self._load = self._variant.load()
        self.published = list(endpoint_samples(self.endpoint, self.variant_name, self._load))
        for metric, value in self.published:
            self._monitor.store.put(metric, value, now - PERIOD_SECONDS, unit_of(metric.name))

    def scale(self, now: float) -> Minute:
        """Apply the policies to the alarms' states at `now`."""
        decision = self._autoscaler.decide(
            self._monitor.store,
            self._monitor.alarms,
            now,
            desired=self._variant.desired,
            settled=self._variant.settled,
        )
        if decision:
            self._variant.apply(decision)
        # The alarms of target tracking are its own; those in CloudWatch only show them.
        alarms = [alarm for alarm in self._monitor.alarms if not alarm.definition.name.startswith(TRACKING_PREFIX)]
        alarms += self._autoscaler.alarms
        states: dict[str, AlarmState] = {alarm.definition.name: alarm.state for alarm in alarms}
        load, desired = self._load, self._variant.desired
        blocked = self._autoscaler.not_scaled
        return Minute(now, load.backlog, load.instances, desired, states, self.published, decision, blocked)

    def _run_scheduled_actions(self, now: float) -> None:
        """Set the bounds of the scheduled actions whose minute begins at `now`."""
        moment = self._epoch + timedelta(seconds=now)
        for action in self._config.scheduled_actions:
            if action.due(moment) and "ScheduledScaling" not in self._config.target.suspended:
                target = self._autoscaler.target
                minimum = target.min_capacity if action.min_capacity is None else action.min_capacity
                maximum = target.max_capacity if action.max_capacity is None else action.max_capacity
                self._autoscaler.register(replace(target, min_capacity=minimum, max_capacity=maximum), enforce=True)
                if self._on_scheduled:
                    self._on_scheduled(action, self._autoscaler.target)
