"""Run one endpoint's scaling minute by minute: publish its metrics, evaluate the alarms, apply the decision."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from local_aws.autoscaling.rules.alarms import AlarmEvaluator, AlarmState
from local_aws.autoscaling.rules.autoscaler import Autoscaler, Decision, ScalableTarget
from local_aws.autoscaling.rules.endpoint_metrics import EndpointLoad, endpoint_samples
from local_aws.autoscaling.rules.metrics import Metric, MetricStore
from local_aws.autoscaling.rules.scaling_config import ScalingConfig, endpoint_and_variant

PERIOD_SECONDS = 60.0
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


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

    def set_desired(self, count: int) -> None: ...


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


class Controller:
    """Scale `variant` according to `config`, which `deploy` may replace at any time.

    `on_alarm_change` is called for each alarm that changes its state, `on_new_bounds` when a scheduled action sets
    bounds. `epoch` is the time of day at 0 seconds of the clock; the default is a Monday's midnight.
    """

    def __init__(
        self,
        config: ScalingConfig,
        variant: ScalableVariant,
        on_alarm_change: Callable[[AlarmEvaluator], None] | None = None,
        on_new_bounds: Callable[[ScalableTarget], None] | None = None,
        *,
        epoch: datetime = MONDAY,
    ) -> None:
        self.endpoint, self.variant_name = endpoint_and_variant(config.target.resource_id)
        self._variant = variant
        self._on_alarm_change = on_alarm_change
        self._on_new_bounds = on_new_bounds
        self._epoch = epoch
        self._store = MetricStore()
        self._alarms: dict[str, AlarmEvaluator] = {}
        self._config = config
        self._autoscaler = Autoscaler(config.target, config.policies)
        self.deploy(config)

    def deploy(self, config: ScalingConfig) -> None:
        """Replace the configuration: changed alarms and policies start over, unchanged ones keep their state."""
        if self._config.policies != config.policies:
            self._autoscaler = Autoscaler(config.target, config.policies)
        self._config = config
        self._autoscaler.register(config.target)
        kept = {alarm.definition.name: alarm for alarm in self._alarms.values() if alarm.definition in config.alarms}
        self._alarms = {alarm.name: kept.get(alarm.name) or AlarmEvaluator(alarm) for alarm in config.alarms}

    def tick(self, now: float) -> Minute:
        """Process the minute that ends at `now`. Its samples carry the minute's start, as on CloudWatch."""
        self._run_scheduled_actions(now)
        load = self._variant.load()
        published = list(endpoint_samples(self.endpoint, self.variant_name, load))
        for metric, value in published:
            self._store.put(metric, value, now - PERIOD_SECONDS)
        for alarm in self._alarms.values():
            if alarm.evaluate(self._store, now) and self._on_alarm_change:
                self._on_alarm_change(alarm)
        decision = self._autoscaler.decide(
            self._store, self._alarms.values(), now, desired=self._variant.desired, settled=self._variant.settled
        )
        if decision:
            self._variant.set_desired(decision.desired)
        alarms = [*self._alarms.values(), *self._autoscaler.alarms]
        states: dict[str, AlarmState] = {alarm.definition.name: alarm.state for alarm in alarms}
        return Minute(now, load.backlog, load.instances, self._variant.desired, states, published, decision)

    def _run_scheduled_actions(self, now: float) -> None:
        """Set the bounds of the scheduled actions whose minute begins at `now`."""
        moment = self._epoch + timedelta(seconds=now)
        for action in self._config.scheduled_actions:
            if action.due(moment):
                target = self._autoscaler.target
                minimum = target.min_capacity if action.min_capacity is None else action.min_capacity
                maximum = target.max_capacity if action.max_capacity is None else action.max_capacity
                self._autoscaler.register(replace(target, min_capacity=minimum, max_capacity=maximum), enforce=True)
                if self._on_new_bounds:
                    self._on_new_bounds(self._autoscaler.target)
