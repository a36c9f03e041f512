"""CloudWatch alarms: definitions, states, missing data, actions and history. A minute takes a second here."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code

API = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference"
MONITORING = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring"
PUT, SET = f"{API}/API_PutMetricAlarm.html", f"{API}/API_SetAlarmState.html"
MISSING = f"{MONITORING}/alarms-and-missing-data.html"
EVALUATION = f"{MONITORING}/alarm-evaluation.html"
ACTIONS = f"{MONITORING}/alarm-actions.html"
REFUSED = ("ValidationError", "InvalidParameterValue", "InvalidParameterCombination")


class WatchedMetric:
    """A metric of its own, with alarms on it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.client = workspace, workspace.client("cloudwatch")
        self.namespace = workspace.name("alarms")

    def publish(self, value: float, name: str = "m", **more: Any) -> None:
        self.client.put_metric_data(Namespace=self.namespace, MetricData=[{"MetricName": name, "Value": value, **more}])

    def alarm(self, **definition: Any) -> str:
        name = definition.pop("AlarmName", None) or self.workspace.name("alarm")
        single = {"Namespace": self.namespace, "MetricName": "m", "Statistic": "Maximum", "Period": 60}
        if "Metrics" in definition:
            single = {}
        rule = {"EvaluationPeriods": 1, "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold"}
        self.client.put_metric_alarm(AlarmName=name, Tags=self.workspace.tags, **{**single, **rule, **definition})
        self.workspace.later(f"alarm {name}", lambda: self.client.delete_alarms(AlarmNames=[name]))
        return name

    def refused(self, **definition: Any) -> bool:
        return error_code(lambda: self.alarm(**definition))[0] in REFUSED

    def state(self, alarm: str) -> str:
        [found] = self.client.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
        return found["StateValue"]

    def await_state(self, alarm: str, state: str, feed: Callable[[], None] = lambda: None) -> None:
        """Wait for a state, publishing with `feed` meanwhile."""

        def reached() -> bool:
            feed()
            return self.state(alarm) == state

        self.workspace.wait(reached, f"{alarm} is {state}", 15)

    def history(self, alarm: str, **more: Any) -> list[str]:
        items = self.client.describe_alarm_history(AlarmName=alarm, **more)["AlarmHistoryItems"]
        return [item["HistorySummary"] for item in items]


@pytest.fixture
def metric(fast_workspace: Workspace) -> WatchedMetric:
    """A metric without samples."""
    return WatchedMetric(fast_workspace)


@documented(PUT, minutes=1)
def test_a_new_alarm_has_insufficient_data(metric: WatchedMetric) -> None:
    """When PutMetricAlarm creates an alarm, its state is immediately set to INSUFFICIENT_DATA."""
    assert metric.state(metric.alarm()) == "INSUFFICIENT_DATA"


@documented(EVALUATION, minutes=8)
def test_an_alarm_follows_its_metric(metric: WatchedMetric) -> None:
    """An alarm is in ALARM while its datapoints breach the threshold, and returns to OK when they do not."""
    alarm = metric.alarm()
    metric.await_state(alarm, "ALARM", lambda: metric.publish(9.0))
    metric.await_state(alarm, "OK", lambda: metric.publish(1.0))


@documented(PUT, minutes=5)
def test_an_update_leaves_the_state(metric: WatchedMetric) -> None:
    """When you update an existing alarm, its state is left unchanged."""
    alarm = metric.alarm(TreatMissingData="ignore")
    metric.await_state(alarm, "ALARM", lambda: metric.publish(9.0))
    metric.alarm(AlarmName=alarm, TreatMissingData="ignore", AlarmDescription="updated")
    assert metric.state(alarm) == "ALARM"


@documented(MISSING, minutes=8)
@pytest.mark.parametrize(
    ("treatment", "state"), [("breaching", "ALARM"), ("notBreaching", "OK"), ("missing", "INSUFFICIENT_DATA")]
)
def test_missing_data_is_treated_as_configured(metric: WatchedMetric, treatment: str, state: str) -> None:
    """Without any data, breaching goes to ALARM, notBreaching to OK, and missing to INSUFFICIENT_DATA."""
    alarm = metric.alarm(TreatMissingData=treatment)
    other = "OK" if state != "OK" else "ALARM"
    metric.client.set_alarm_state(AlarmName=alarm, StateValue=other, StateReason="test")
    metric.await_state(alarm, state)


@documented(MISSING, minutes=12)
def test_ignored_missing_data_keeps_the_state(metric: WatchedMetric) -> None:
    """With ignore, the current alarm state is maintained while data is missing."""
    kept, witness = metric.alarm(TreatMissingData="ignore"), metric.alarm(TreatMissingData="missing")
    metric.await_state(kept, "ALARM", lambda: metric.publish(9.0))
    metric.await_state(witness, "ALARM", lambda: metric.publish(9.0))
    metric.await_state(witness, "INSUFFICIENT_DATA")
    assert metric.state(kept) == "ALARM"


@documented(EVALUATION, minutes=10)
def test_m_out_of_n_datapoints_suffice(metric: WatchedMetric) -> None:
    """An alarm goes to ALARM when DatapointsToAlarm of the EvaluationPeriods are breaching, not only all of them."""
    some = metric.alarm(EvaluationPeriods=3, DatapointsToAlarm=1, TreatMissingData="notBreaching")
    every = metric.alarm(EvaluationPeriods=3, TreatMissingData="notBreaching")
    metric.await_state(every, "OK")
    metric.publish(9.0)
    metric.await_state(some, "ALARM")
    assert metric.state(every) == "OK"


@documented(PUT, minutes=5)
def test_another_unit_has_no_data(metric: WatchedMetric) -> None:
    """A Unit that is not published for the metric causes the alarm to be stuck in the INSUFFICIENT DATA state."""
    right, wrong = metric.alarm(Unit="Seconds"), metric.alarm(Unit="Bytes")
    metric.await_state(right, "ALARM", lambda: metric.publish(9.0, Unit="Seconds"))
    assert metric.state(wrong) == "INSUFFICIENT_DATA"


@documented(f"{MONITORING}/cloudwatch_concepts.html", minutes=5)
def test_other_dimensions_are_another_metric(metric: WatchedMetric) -> None:
    """An alarm sees only samples with exactly its dimensions."""
    dimension = {"Name": "EndpointName", "Value": "e"}
    exact, wrong = metric.alarm(Dimensions=[dimension]), metric.alarm()
    metric.await_state(exact, "ALARM", lambda: metric.publish(9.0, Dimensions=[dimension]))
    assert metric.state(wrong) == "INSUFFICIENT_DATA"


@documented(f"{MONITORING}/using-metric-math.html", minutes=5)
def test_an_alarm_watches_an_expression(metric: WatchedMetric) -> None:
    """FILL replaces missing values and IF chooses between two: an alarm can watch the result."""

    def stat(name: str) -> dict[str, Any]:
        found = {"Namespace": metric.namespace, "MetricName": name}
        return {"Metric": found, "Period": 60, "Stat": "Maximum"}

    queries = [
        {"Id": "m", "MetricStat": stat("m"), "ReturnData": False},
        {"Id": "absent", "MetricStat": stat("absent"), "ReturnData": False},
        {"Id": "e", "Expression": "IF(FILL(absent, 0) == 0, m, 0)", "ReturnData": True},
    ]
    metric.await_state(metric.alarm(Metrics=queries), "ALARM", lambda: metric.publish(9.0))


# ---- actions -----------------------------------------------------------------------------------------------


def changes(workspace: Workspace, queue: str) -> list[tuple[str, str]]:
    """Return the old and new states in the messages that have arrived."""
    bodies = [json.loads(envelope["Message"]) for envelope in workspace.messages(queue)]
    return [(body["OldStateValue"], body["NewStateValue"]) for body in bodies]


@documented(ACTIONS, minutes=10)
def test_a_topic_hears_of_a_change_once(metric: WatchedMetric) -> None:
    """Except for Auto Scaling actions, the actions happen only on state transitions, and are not performed again."""
    topic, queue = metric.workspace.topic_with_queue()
    alarm = metric.alarm(AlarmActions=[topic])
    witness = metric.alarm(EvaluationPeriods=3)
    metric.await_state(alarm, "ALARM", lambda: metric.publish(9.0))
    metric.await_state(witness, "ALARM", lambda: metric.publish(9.0))
    assert changes(metric.workspace, queue) == [("INSUFFICIENT_DATA", "ALARM")]


@documented(SET, minutes=3)
def test_setting_a_state_invokes_its_actions(metric: WatchedMetric) -> None:
    """When the state set by SetAlarmState differs from the previous one, its action is invoked."""
    topic, queue = metric.workspace.topic_with_queue()
    alarm = metric.alarm(OKActions=[topic])
    metric.client.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="test")
    found = metric.workspace.wait(lambda: changes(metric.workspace, queue), "a message")
    assert found == [("INSUFFICIENT_DATA", "OK")]


@documented(SET, minutes=3)
def test_a_set_state_is_temporary(metric: WatchedMetric) -> None:
    """After SetAlarmState, metric alarms return to their actual state quickly."""
    alarm = metric.alarm(TreatMissingData="notBreaching")
    metric.client.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="test")
    metric.await_state(alarm, "OK")


@documented(f"{API}/API_DisableAlarmActions.html", minutes=3)
def test_disabled_actions_do_not_run(metric: WatchedMetric) -> None:
    """When an alarm's actions are disabled, they do not execute when the alarm state changes."""
    topic, queue = metric.workspace.topic_with_queue()
    alarm = metric.alarm(OKActions=[topic], AlarmActions=[topic], ActionsEnabled=False)
    metric.client.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="test")
    metric.client.enable_alarm_actions(AlarmNames=[alarm])
    metric.client.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="test")
    found = metric.workspace.wait(lambda: changes(metric.workspace, queue), "a message")
    assert [new for _, new in found] == ["ALARM"]


@documented(f"{API}/API_DescribeAlarmHistory.html", minutes=3)
def test_the_history_outlives_the_alarm(metric: WatchedMetric) -> None:
    """CloudWatch retains the history of an alarm even if you delete the alarm; it can be filtered by item type."""
    alarm = metric.alarm(TreatMissingData="ignore")
    metric.client.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="test")
    metric.client.delete_alarms(AlarmNames=[alarm])
    history = metric.workspace.wait(lambda: len(found := metric.history(alarm)) >= 3 and found, "three items")
    assert len(history) == 3
    assert len(metric.history(alarm, HistoryItemType="StateUpdate")) == 1


@documented("https://docs.aws.amazon.com/cli/latest/reference/cloudwatch/describe-alarm-history.html", minutes=3)
def test_the_history_tells_states_newest_first(metric: WatchedMetric) -> None:
    """HistorySummary of a StateUpdate: Alarm updated from ALARM to OK. The newest comes first."""
    alarm = metric.alarm(TreatMissingData="ignore")
    for state in ("ALARM", "OK"):
        metric.client.set_alarm_state(AlarmName=alarm, StateValue=state, StateReason="test")
    wanted = ["Alarm updated from ALARM to OK", "Alarm updated from INSUFFICIENT_DATA to ALARM"]
    metric.workspace.wait(lambda: metric.history(alarm, HistoryItemType="StateUpdate") == wanted, "two changes")


@documented(f"{API}/API_DescribeAlarmHistory.html", unknown="AWS documents the texts of state updates only", minutes=3)
def test_the_history_tells_of_configurations(metric: WatchedMetric) -> None:
    """An alarm's history has its configuration updates: its creation and its deletion."""
    alarm = metric.alarm()
    metric.client.delete_alarms(AlarmNames=[alarm])
    wanted = [f'Alarm "{alarm}" deleted', f'Alarm "{alarm}" created']
    metric.workspace.wait(lambda: metric.history(alarm, HistoryItemType="ConfigurationUpdate") == wanted, "two items")


# ---- definitions -------------------------------------------------------------------------------------------


@documented(SET)
def test_an_unknown_alarm_cannot_be_set(metric: WatchedMetric) -> None:
    """ResourceNotFound: the named resource does not exist."""
    call = metric.client.set_alarm_state
    name = metric.workspace.name("alarm")
    code, _ = error_code(lambda: call(AlarmName=name, StateValue="OK", StateReason="test"))
    assert code == "ResourceNotFound"


@documented(PUT)
@pytest.mark.parametrize("period", [15, 90])
def test_a_period_is_10_20_30_or_minutes(metric: WatchedMetric, period: int) -> None:
    """Valid values of Period are 10, 20, 30, and any multiple of 60."""
    assert metric.refused(Period=period)


@documented(PUT)
@pytest.mark.parametrize(
    ("period", "periods", "accepted"),
    [(60, 1440, True), (60, 1441, False), (3600, 168, True), (3600, 169, False)],
)
def test_the_evaluated_time_is_limited(metric: WatchedMetric, period: int, periods: int, accepted: bool) -> None:
    """Period times EvaluationPeriods is at most seven days, and one day for periods of less than an hour."""
    if accepted:
        assert metric.alarm(Period=period, EvaluationPeriods=periods)
    else:
        assert metric.refused(Period=period, EvaluationPeriods=periods)


@documented(PUT, unknown="AWS does not say that M must not exceed N; an alarm that never fires is refused here")
def test_m_is_at_most_n(metric: WatchedMetric) -> None:
    """DatapointsToAlarm is the M, and EvaluationPeriods the N, of an M out of N alarm."""
    assert metric.refused(EvaluationPeriods=2, DatapointsToAlarm=3)


@documented(PUT)
def test_missing_data_has_four_treatments(metric: WatchedMetric) -> None:
    """Valid values of TreatMissingData are breaching, notBreaching, ignore and missing."""
    assert metric.refused(TreatMissingData="zero")


@documented(PUT)
def test_a_statistic_is_required(metric: WatchedMetric) -> None:
    """With a MetricName, either Statistic or ExtendedStatistic must be specified, but not both."""
    assert metric.refused(ExtendedStatistic="p90")


@documented(PUT)
def test_a_state_has_at_most_five_actions(metric: WatchedMetric) -> None:
    """Up to five actions can be specified for each state."""
    region, account = metric.workspace.target.region, metric.workspace.target.account_id
    topics = [f"arn:aws:sns:{region}:{account}:{metric.workspace.prefix}-{number}" for number in range(6)]
    assert metric.refused(AlarmActions=topics)
