"""CloudWatch: an alarm's first state, and DescribeAlarmHistory.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
"""

import json
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from moto.cloudwatch.models import CloudWatchBackend
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult

_MAX_ITEMS = 10_000  # AWS keeps 30 days of them, also of deleted alarms
_MAX_RECORDS = 100
_history: deque["_Item"] = deque(maxlen=_MAX_ITEMS)
_lock = threading.Lock()


@dataclass(frozen=True)
class _Item:
    alarm: str
    at: datetime
    kind: Literal["ConfigurationUpdate", "StateUpdate", "Action"]
    summary: str
    data: dict[str, Any]

    def shown(self) -> dict[str, Any]:
        """Return the item as DescribeAlarmHistory shows it."""
        return {
            "AlarmName": self.alarm,
            "AlarmType": "MetricAlarm",
            "Timestamp": self.at,
            "HistoryItemType": self.kind,
            "HistorySummary": self.summary,
            "HistoryData": json.dumps(self.data, separators=(",", ":")),
        }


def record_action(alarm: str, arn: str, error: str | None = None) -> None:
    """Record that an alarm's action was executed, or why it failed."""
    state, done = ("Failed", f"Failed to execute action {arn}. Received error: {error}") if error else ("Succeeded", "")
    data: dict[str, Any] = {"actionState": state, "notificationResource": arn}
    _record(alarm, "Action", done or f"Successfully executed action {arn}", data | ({"error": error} if error else {}))


def install() -> None:
    """Record what moto's PutMetricAlarm, DeleteAlarms and SetAlarmState do, and answer DescribeAlarmHistory."""
    backend = cast(Any, CloudWatchBackend)
    put, delete, set_state = backend.put_metric_alarm, backend.delete_alarms, backend.set_alarm_state
    with _lock:
        _history.clear()

    def put_metric_alarm(self: Any, name: str, *arguments: Any, **options: Any) -> Any:
        old = self.alarms.get(name)
        alarm = put(self, name, *arguments, **options)
        if old is None:
            alarm.state_value, alarm.state_reason_data = "INSUFFICIENT_DATA", None  # moto starts with OK
            created = {"type": "Create", "createdAlarm": _configuration(alarm)}
            _record(name, "ConfigurationUpdate", f'Alarm "{name}" created', created)
        else:  # an alarm keeps its state when it is changed
            alarm.state_value, alarm.state_reason = old.state_value, old.state_reason
            alarm.state_updated_timestamp = old.state_updated_timestamp
            updated = {"type": "Update", "updatedAlarm": _configuration(alarm)}
            _record(name, "ConfigurationUpdate", f'Alarm "{name}" updated', updated)
        return alarm

    def delete_alarms(self: Any, alarm_names: list[str]) -> None:
        for alarm in [self.alarms[name] for name in alarm_names if name in self.alarms]:
            deleted = {"type": "Delete", "deletedAlarm": _configuration(alarm)}
            _record(alarm.name, "ConfigurationUpdate", f'Alarm "{alarm.name}" deleted', deleted)
        delete(self, alarm_names)

    def set_alarm_state(self: Any, alarm_name: str, reason: str, reason_data: str, state_value: str) -> None:
        alarm = self.alarms.get(alarm_name)
        old = _state(alarm) if alarm else {}
        set_state(self, alarm_name, reason, reason_data, state_value)
        change = f"Alarm updated from {old['stateValue']} to {state_value}"
        _record(alarm_name, "StateUpdate", change, {"oldState": old, "newState": _state(alarm)})

    backend.put_metric_alarm, backend.delete_alarms = put_metric_alarm, delete_alarms
    backend.set_alarm_state = set_alarm_state
    _install_responses(cast(Any, CloudWatchResponse))


def _install_responses(responses: Any) -> None:
    describe = responses.describe_alarms

    def describe_alarms(self: Any) -> ActionResult:
        """Leave out `Metrics` of an alarm on one metric, which moto shows as an empty list."""
        found = describe(self)
        for alarm in found.result["MetricAlarms"]:
            alarm.metric_data_queries = alarm.metric_data_queries or None
        return found

    responses.describe_alarms = describe_alarms
    responses.describe_alarm_history = _describe_alarm_history


def _describe_alarm_history(self: Any) -> ActionResult:
    with _lock:
        items: Iterable[_Item] = list(_history)
    wanted = {"alarm": self._get_param("AlarmName"), "kind": self._get_param("HistoryItemType")}
    start, end = self._get_param("StartDate"), self._get_param("EndDate")
    found = [
        item
        for item in items
        if all(value in (None, getattr(item, name)) for name, value in wanted.items())
        and (start is None or item.at >= _aware(start))
        and (end is None or item.at <= _aware(end))
    ]
    if self._get_param("ScanBy") != "TimestampAscending":
        found.reverse()
    first, count = int(self._get_param("NextToken") or 0), int(self._get_param("MaxRecords") or _MAX_RECORDS)
    answer: dict[str, Any] = {"AlarmHistoryItems": [item.shown() for item in found[first : first + count]]}
    if first + count < len(found):
        answer["NextToken"] = str(first + count)
    return ActionResult(answer)


def _record(alarm: str, kind: Any, summary: str, data: dict[str, Any]) -> None:
    with _lock:
        _history.append(_Item(alarm, datetime.now(UTC), kind, summary, {"version": "1.0"} | data))


def _state(alarm: Any) -> dict[str, Any]:
    return {"stateValue": alarm.state_value, "stateReason": alarm.state_reason}


def _configuration(alarm: Any) -> dict[str, Any]:
    return {
        "alarmName": alarm.name,
        "alarmArn": alarm.alarm_arn,
        "namespace": alarm.namespace,
        "metricName": alarm.metric_name,
        "dimensions": [{"name": item.name, "value": item.value} for item in alarm.dimensions],
        "statistic": alarm.statistic,
        "period": alarm.period,
        "evaluationPeriods": alarm.evaluation_periods,
        "threshold": alarm.threshold,
        "comparisonOperator": alarm.comparison_operator,
        "stateValue": alarm.state_value,
        "actionsEnabled": alarm.actions_enabled,
        "alarmActions": list(alarm.alarm_actions or []),
        "insufficientDataActions": list(alarm.insufficient_data_actions or []),
        "okactions": list(alarm.ok_actions or []),
    }


def _aware(time: datetime) -> datetime:
    return time.replace(tzinfo=time.tzinfo or UTC)
