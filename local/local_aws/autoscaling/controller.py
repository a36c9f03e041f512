"""Once a minute: publish the endpoint's metrics, evaluate the alarms, and let Application Auto Scaling decide."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from local_aws.autoscaling.alarms import AlarmWatch
from local_aws.autoscaling.autoscaler import Decision, ScalableTarget
from local_aws.autoscaling.definitions import endpoint_and_variant
from local_aws.autoscaling.endpoint_metrics import Load, samples
from local_aws.autoscaling.metrics import Metric, MetricStore
from local_aws.autoscaling.missing_data import State
from local_aws.autoscaling.scaling import Scaling

PERIOD_SECONDS = 60.0
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


class Variant(Protocol):
    """What is scaled: the instances of an endpoint's production variant."""

    def load(self) -> Load:
        """The endpoint now; its events are those since the call before."""
        ...

    @property
    def desired(self) -> int:
        """The instance count last asked for."""
        ...

    @property
    def settled(self) -> bool:
        """Whether the endpoint has that count, and takes another change."""
        ...

    def set_desired(self, count: int) -> None:
        """Asks for `count` instances."""
        ...


@dataclass(frozen=True)
class Minute:
    """What the controller saw and did in one minute; `at` in seconds of its clock."""

    at: float
    backlog: int
    instances: int
    desired: int
    alarms: Mapping[str, State]
    published: Sequence[tuple[Metric, float]]
    decision: Decision | None


class Controller:
    """Scales `variant` by `scaling`, which may be replaced at any time.

    `changed` hears of every alarm's new state, `registered` of bounds that a scheduled action set. `epoch`: the time of
    day at 0 seconds of the clock; a Monday's midnight where it does not matter.
    """

    def __init__(
        self,
        scaling: Scaling,
        variant: Variant,
        changed: Callable[[AlarmWatch], None] | None = None,
        registered: Callable[[ScalableTarget], None] | None = None,
        *,
        epoch: datetime = MONDAY,
    ) -> None:
        self.endpoint, self.variant_name = endpoint_and_variant(scaling.target.resource_id)
        self._variant = variant
        self._changed = changed
        self._registered = registered
        self._epoch = epoch
        self._store = MetricStore()
        self._watches: dict[str, AlarmWatch] = {}
        self._scaling = scaling
        self._autoscaler = scaling.autoscaler()
        self.deploy(scaling)

    def deploy(self, scaling: Scaling) -> None:
        """Takes a new definition: what changed starts over, what did not keeps its state."""
        if self._scaling.policies != scaling.policies:
            self._autoscaler = scaling.autoscaler()
        self._scaling = scaling
        self._autoscaler.register(scaling.target)
        kept = {watch.alarm.name: watch for watch in self._watches.values() if watch.alarm in scaling.alarms}
        self._watches = {alarm.name: kept.get(alarm.name) or AlarmWatch(alarm) for alarm in scaling.alarms}

    def tick(self, now: float) -> Minute:
        """Does the work of the minute that ends at `now`. Its samples carry the minute's start, as on CloudWatch."""
        self._keep_schedule(now)
        load = self._variant.load()
        published = list(samples(self.endpoint, self.variant_name, load))
        for metric, value in published:
            self._store.put(metric, value, now - PERIOD_SECONDS)
        for watch in self._watches.values():
            if watch.evaluate(self._store, now) and self._changed:
                self._changed(watch)
        decision = self._autoscaler.decide(
            self._store, self._watches.values(), now, desired=self._variant.desired, settled=self._variant.settled
        )
        if decision:
            self._variant.set_desired(decision.desired)
        watches = [*self._watches.values(), *self._autoscaler.watches]
        states: dict[str, State] = {watch.alarm.name: watch.state for watch in watches}
        return Minute(now, load.backlog, load.instances, self._variant.desired, states, published, decision)

    def _keep_schedule(self, now: float) -> None:
        """Sets the bounds of the scheduled actions whose minute begins at `now`."""
        moment = self._epoch + timedelta(seconds=now)
        for action in self._scaling.scheduled:
            if action.due(moment):
                target = self._autoscaler.target
                least = target.min_capacity if action.min_capacity is None else action.min_capacity
                most = target.max_capacity if action.max_capacity is None else action.max_capacity
                self._autoscaler.register(replace(target, min_capacity=least, max_capacity=most), enforce=True)
                if self._registered:
                    self._registered(self._autoscaler.target)
