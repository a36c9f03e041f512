"""All metric samples and alarms of an account, which belong to no single endpoint."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from local_aws.autoscaling.rules.alarms import Alarm, AlarmEvaluator, AlarmState
from local_aws.autoscaling.rules.metrics import MONDAY, MetricStore


class AlarmMonitor:
    """Evaluate alarms on `store`; call `on_change` for each that changes its state.

    `epoch` is the time at 0 seconds of the clock.
    """

    def __init__(self, on_change: Callable[[AlarmEvaluator], None] | None = None, *, epoch: datetime = MONDAY) -> None:
        self.store = MetricStore(epoch)
        self._on_change = on_change
        self._evaluators: dict[str, AlarmEvaluator] = {}

    @property
    def alarms(self) -> list[AlarmEvaluator]:
        return list(self._evaluators.values())

    def deploy(self, alarms: Iterable[Alarm]) -> None:
        """Replace the alarms. An alarm keeps its state when it is updated, as on CloudWatch."""
        deployed: dict[str, AlarmEvaluator] = {}
        for alarm in alarms:
            evaluator = deployed[alarm.name] = self._evaluators.get(alarm.name) or AlarmEvaluator(alarm)
            evaluator.definition = alarm
        self._evaluators = deployed

    def set_states(self, states: Mapping[str, AlarmState]) -> None:
        """Take over states that SetAlarmState has set, until the next evaluation."""
        for name, state in states.items():
            if name in self._evaluators:
                self._evaluators[name].state = state

    def evaluate(self, now: float) -> None:
        """Update the state of every alarm at `now` (seconds)."""
        for alarm in self._evaluators.values():
            if alarm.evaluate(self.store, now) and self._on_change:
                self._on_change(alarm)
