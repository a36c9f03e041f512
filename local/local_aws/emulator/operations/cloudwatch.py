"""What CloudWatch checks, records and invokes where moto does not: metrics, alarm definitions, history, actions."""

# pyright: reportPrivateUsage=false
# (moto keeps the statistics of a period behind helpers)

import datetime as dt
import functools
import json
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from moto.cloudwatch.exceptions import InvalidParameterCombination, InvalidParameterValue, ValidationError
from moto.cloudwatch.models import Alarm, CloudWatchBackend, Statistics
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult
from moto.core.utils import utcnow

from local_aws.emulator import clients
from local_aws.emulator.account import ACCOUNT_ID, REGION
from local_aws.emulator.iam.authorization import service_may
from local_aws.emulator.iam.policies import Access

_MAX_METRICS = 1000
_MAX_VALUES = 150
_MAX_DIMENSIONS = 30
_MAX_VALUE = 2.0**360
_OLDEST, _NEWEST = dt.timedelta(weeks=2), dt.timedelta(hours=2)
_MAX_DATAPOINTS = 1440
_DAY, _WEEK, _HOUR = 86_400, 604_800, 3_600
_MAX_ACTIONS = 5
_MISSING_DATA = ("breaching", "notBreaching", "ignore", "missing")
_ACTIONS = {"ALARM": "alarm_actions", "OK": "ok_actions", "INSUFFICIENT_DATA": "insufficient_data_actions"}
_MAX_HISTORY = 10_000

_history: deque[dict[str, Any]] = deque(maxlen=_MAX_HISTORY)


def install() -> None:
    """Wrap moto's CloudWatch; call once."""
    alarm: Any = Alarm
    backend: Any = CloudWatchBackend
    responses: Any = CloudWatchResponse
    _start_without_data(alarm)
    _keep_state_on_update(backend)
    _invoke_actions(backend)
    _record_deletions(backend)
    _check_metric_data(backend)
    backend.get_metric_statistics = _get_metric_statistics
    _leave_out_no_metrics(responses)
    responses.describe_alarm_history = _describe_alarm_history


# ---- alarms ------------------------------------------------------------------------------------------------


def _start_without_data(alarm: Any) -> None:
    construct = alarm.__init__

    @functools.wraps(construct)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        self.state_value = "INSUFFICIENT_DATA"

    alarm.__init__ = init


def _leave_out_no_metrics(responses: Any) -> None:
    """Leave out `Metrics` of an alarm on one metric, which moto shows as an empty list."""
    describe = responses.describe_alarms

    @functools.wraps(describe)
    def describe_alarms(self: Any) -> ActionResult:
        found = describe(self)
        for alarm in found.result["MetricAlarms"]:
            alarm.metric_data_queries = alarm.metric_data_queries or None
        return found

    responses.describe_alarms = describe_alarms


def _keep_state_on_update(backend: Any) -> None:
    """Check an alarm's definition; leave the state of an existing alarm unchanged."""
    put = backend.put_metric_alarm

    @functools.wraps(put)
    def put_metric_alarm(self: Any, name: str, **definition: Any) -> Any:
        if definition.get("rule") is None:
            _check_alarm(definition)
        before = self.alarms.get(name)
        made = put(self, name=name, **definition)
        if before is not None:
            for field in ("state_value", "state_reason", "state_reason_data", "state_updated_timestamp", "history"):
                setattr(made, field, getattr(before, field))
        verb = "created" if before is None else "updated"
        _record(name, "ConfigurationUpdate", f'Alarm "{name}" {verb}', {"type": verb.removesuffix("d").capitalize()})
        return made

    backend.put_metric_alarm = put_metric_alarm


def _check_alarm(definition: dict[str, Any]) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html."""
    periods = int(definition["evaluation_periods"])
    needed = definition.get("datapoints_to_alarm")
    if needed is not None and not 1 <= int(needed) <= periods:
        raise ValidationError(f"DatapointsToAlarm must be 1 to EvaluationPeriods ({periods}), got {needed}")
    missing = definition.get("treat_missing_data")
    if missing is not None and missing not in _MISSING_DATA:
        raise ValidationError(f"TreatMissingData must be one of {', '.join(_MISSING_DATA)}, got {missing}")
    for field in _ACTIONS.values():
        if len(definition.get(field) or ()) > _MAX_ACTIONS:
            raise ValidationError(f"an alarm can have at most {_MAX_ACTIONS} actions for each state")
    for period in _periods(definition):
        if period not in (10, 20, 30) and (period < 60 or period % 60):
            raise ValidationError(f"Period must be 10, 20, 30 or a multiple of 60, got {period}")
        if period * periods > (_DAY if period < _HOUR else _WEEK):
            raise ValidationError(f"Period times EvaluationPeriods is too long: {period} s times {periods}")


def _periods(definition: dict[str, Any]) -> list[int]:
    """Return the periods of the alarm's metrics; refuse one without a metric, or with other than one result."""
    queries: list[Any] = definition.get("metric_data_queries") or []
    if bool(queries) == bool(definition.get("metric_name")):
        raise ValidationError("either MetricName or Metrics must be specified")
    if queries:
        watched = [query for query in queries if query.return_data is not False and query.return_data != "false"]
        if len(watched) != 1:
            raise ValidationError(f"exactly one element of Metrics must return data, got {len(watched)}")
        return [int(query.metric_stat.period) for query in queries if query.metric_stat]
    if bool(definition.get("statistic")) == bool(definition.get("extended_statistic")):
        raise ValidationError("either Statistic or ExtendedStatistic must be specified, not both")
    if definition.get("period") is None:
        raise ValidationError("Period must be specified")
    return [int(definition["period"])]


def _invoke_actions(backend: Any) -> None:
    """On a change of state, record it and publish to the topics among the new state's actions."""
    set_state = backend.set_alarm_state

    @functools.wraps(set_state)
    def set_alarm_state(self: Any, alarm_name: str, reason: str, reason_data: str, state_value: str) -> None:
        before = self.alarms[alarm_name].state_value if alarm_name in self.alarms else ""
        set_state(self, alarm_name, reason, reason_data, state_value)
        if before == state_value:
            return
        alarm = self.alarms[alarm_name]
        states = {"oldState": {"stateValue": before}, "newState": {"stateValue": state_value, "stateReason": reason}}
        _record(alarm_name, "StateUpdate", f"Alarm updated from {before} to {state_value}", states)
        arns: list[str] = (getattr(alarm, _ACTIONS[state_value]) or []) if alarm.actions_enabled else []
        for arn in arns:
            if arn.split(":")[2:3] == ["sns"] and not _publish(arn, alarm, before):
                _record(alarm_name, "Action", f"Failed to execute action {arn}", {"actionState": "Failed"})
            else:
                _record(alarm_name, "Action", f"Successfully executed action {arn}", {"actionState": "Succeeded"})

    backend.set_alarm_state = set_alarm_state


def _publish(topic: str, alarm: Any, before: str) -> bool:
    """Publish an alarm's change of state; return False if the topic's policy does not let CloudWatch, or it is gone."""
    publish = Access("sns:Publish", topic, {"aws:sourcearn": alarm.alarm_arn})
    if not service_may("cloudwatch.amazonaws.com", publish):
        print(f"{alarm.name}: the policy of {topic} does not let cloudwatch.amazonaws.com publish", flush=True)
        return False
    subject = f'{alarm.state_value}: "{alarm.name}" in US East (N. Virginia)'
    message = json.dumps(_notification(alarm, before))
    clients.client("sns").publish(TopicArn=topic, Message=message, Subject=subject[:100])
    return True


def _notification(alarm: Any, before: str) -> dict[str, Any]:
    """Return the message that CloudWatch publishes when an alarm's state changes.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
    """
    return {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": ACCOUNT_ID,
        "AlarmArn": alarm.alarm_arn,
        "NewStateValue": alarm.state_value,
        "NewStateReason": alarm.state_reason,
        "StateChangeTime": alarm.state_updated_timestamp.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "Region": REGION,
        "OldStateValue": before,
        "Trigger": {
            "MetricName": alarm.metric_name,
            "Namespace": alarm.namespace,
            "Period": alarm.period,
            "EvaluationPeriods": alarm.evaluation_periods,
            "DatapointsToAlarm": alarm.datapoints_to_alarm or alarm.evaluation_periods,
            "ComparisonOperator": alarm.comparison_operator,
            "Threshold": alarm.threshold,
            "TreatMissingData": alarm.treat_missing_data or "missing",
        },
    }


def _record_deletions(backend: Any) -> None:
    delete = backend.delete_alarms

    @functools.wraps(delete)
    def delete_alarms(self: Any, alarm_names: list[str]) -> None:
        for name in alarm_names:
            if name in self.alarms:
                _record(name, "ConfigurationUpdate", f'Alarm "{name}" deleted', {"type": "Delete"})
        delete(self, alarm_names)

    backend.delete_alarms = delete_alarms


def _record(name: str, kind: str, summary: str, data: dict[str, Any]) -> None:
    item = {"AlarmName": name, "AlarmType": "MetricAlarm", "Timestamp": utcnow(), "HistoryItemType": kind}
    _history.append({**item, "HistorySummary": summary[:255], "HistoryData": json.dumps({"version": "1.0", **data})})


def _describe_alarm_history(self: Any) -> ActionResult:
    """Return the newest items first, also of alarms that were deleted."""
    name, kind = self._get_param("AlarmName"), self._get_param("HistoryItemType")
    start, end = self._get_param("StartDate"), self._get_param("EndDate")
    oldest_first = self._get_param("ScanBy") == "TimestampAscending"
    found = [
        item
        for item in list(_history)
        if (not name or item["AlarmName"] == name)
        and (not kind or item["HistoryItemType"] == kind)
        and (not start or item["Timestamp"] >= start.replace(tzinfo=None))
        and (not end or item["Timestamp"] <= end.replace(tzinfo=None))
    ]
    first = int(self._get_param("NextToken") or 0)
    count = int(self._get_param("MaxRecords") or 100)
    page = (found if oldest_first else found[::-1])[first : first + count]
    token = str(first + count) if first + count < len(found) else None
    return ActionResult({"AlarmHistoryItems": page, "NextToken": token})


# ---- metrics -----------------------------------------------------------------------------------------------


def _check_metric_data(backend: Any) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html."""
    put: Callable[..., None] = backend.put_metric_data

    @functools.wraps(put)
    def put_metric_data(self: Any, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        if len(metric_data) > _MAX_METRICS:
            raise InvalidParameterValue(f"MetricData must have at most {_MAX_METRICS} items, got {len(metric_data)}")
        # Samples of AWS's own services follow the accelerated clock, which may be far ahead.
        if not namespace.lower().startswith(("aws/", "/aws/")):
            for datum in metric_data:
                _check_timestamp(datum.get("Timestamp"))
        for datum in metric_data:
            if len(datum.get("Dimensions") or ()) > _MAX_DIMENSIONS:
                raise InvalidParameterValue(f"a metric must have at most {_MAX_DIMENSIONS} dimensions")
            values: list[float] = datum.get("Values") or []
            if len(values) > _MAX_VALUES:
                raise InvalidParameterValue(f"Values must have at most {_MAX_VALUES} items, got {len(values)}")
            for value in (*values, *([datum["Value"]] if "Value" in datum else [])):
                if not (math.isfinite(value) and abs(value) <= _MAX_VALUE):
                    raise InvalidParameterValue(f"a value must be in the range of -2^360 to 2^360, got {value}")
        put(self, namespace, metric_data)

    backend.put_metric_data = put_metric_data


def _check_timestamp(moment: dt.datetime | None) -> None:
    if moment is not None:
        now = utcnow()
        if not now - _OLDEST <= moment.replace(tzinfo=None) <= now + _NEWEST:
            raise InvalidParameterValue("Timestamp must be at most two weeks ago and two hours ahead")


def _get_metric_statistics(
    self: Any,
    namespace: str,
    metric_name: str,
    start_time: dt.datetime,
    end_time: dt.datetime,
    period: int,
    stats: list[str],
    dimensions: list[dict[str, str]],
    unit: str | None = None,
) -> list[Statistics]:
    """Return one datapoint for each period with samples, at the period's start: a multiple of the period."""
    if start_time >= end_time:
        raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
    if period not in (1, 5, 10, 20, 30) and (period < 60 or period % 60):
        raise InvalidParameterValue(f"Period must be 1, 5, 10, 20, 30 or a multiple of 60, got {period}")
    seconds = (end_time - start_time).total_seconds()
    if seconds / period > _MAX_DATAPOINTS:
        raise InvalidParameterCombination(
            f"You have requested up to {math.ceil(seconds / period)} datapoints, which exceeds the limit of "
            f"{_MAX_DATAPOINTS}. You may reduce the datapoints requested by increasing Period, or decreasing the time "
            "range."
        )
    wanted = {(item["Name"], item["Value"]) for item in dimensions or ()}
    by_start: dict[int, Statistics] = {}
    start, end = (_seconds(moment) for moment in (start_time, end_time))
    for datum in self.get_all_metrics():
        if (datum.namespace, datum.name) != (namespace, metric_name) or (unit and datum.unit != unit):
            continue
        if {(item.name, item.value) for item in datum.dimensions} != wanted:
            continue
        begins = int(_seconds(datum.timestamp)) // period * period
        if int(start) // period * period <= begins < end:
            moment = dt.datetime.fromtimestamp(begins, dt.UTC).replace(tzinfo=None)
            point = by_start.setdefault(begins, Statistics(stats, moment))
            point.metric_data.append(datum)
            point.unit = datum.unit or "None"
    return list(by_start.values())


def _seconds(moment: dt.datetime) -> float:
    return moment.replace(tzinfo=moment.tzinfo or dt.UTC).timestamp()
