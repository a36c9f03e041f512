"""What starts and stops instances: scaling policies and the alarms that trigger them."""

from collections.abc import Iterator

from stack_gate.diff.properties import ValueChange, leaves
from stack_gate.diff.stacks import StackDiff
from stack_gate.findings import Finding
from stack_gate.rules.predicates import without_endpoint_names
from stack_gate.rules.tables import stack_finding
from stack_gate.template import Json, Stack, as_list, canonical, is_object, referenced_id

POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"
ALARMS = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")
_SAYS_NOTHING = ("AlarmDescription", "AlarmName", "Tags")
_COUNTING = ("AWS/", "/aws/sagemaker/", "MusicGen")  # namespaces whose metrics count or measure: none is below 0
_AT_LEAST = ("GreaterThanOrEqualToThreshold", "GreaterThanThreshold")


def find_scaling_changes(diff: StackDiff) -> Iterator[Finding]:
    """Find scaling policies and their alarms that are added, removed, disabled, changed or always firing."""
    base, head = diff.base, diff.head
    before, after = _scaling_alarms(base), _scaling_alarms(head)
    for logical_id in before.keys() - after.keys():
        yield stack_finding("wake_up", resource=base.display(logical_id), what="the alarm triggers no scaling any more")
    for logical_id, _ in base.of_type(POLICY):
        if logical_id not in head.resources:
            yield stack_finding("wake_up", resource=base.display(logical_id), what="the scaling policy is removed")
    for logical_id, properties in after.items():
        if logical_id in before:
            yield from _find_changed_alarm(diff, logical_id)
        else:
            what = "a new alarm triggers scaling"
            yield stack_finding("scaling_alarm", resource=head.display(logical_id), what=what)
        if properties.get("TreatMissingData") == "breaching" != before.get(logical_id, {}).get("TreatMissingData"):
            what = "the alarm fires without data, which a stack without instances has none of"
            yield stack_finding("always_on", resource=head.display(logical_id), what=what)
    for logical_id, properties in head.of_type(*ALARMS):
        reason = always_fires(properties)
        if reason and always_fires(base.properties(logical_id)) != reason:
            rule = "always_on" if logical_id in after else "useless_alarm"
            yield stack_finding(rule, resource=head.display(logical_id), what=f"the alarm always fires: {reason}")


def _find_changed_alarm(diff: StackDiff, logical_id: str) -> Iterator[Finding]:
    old, new = diff.base.properties(logical_id), diff.head.properties(logical_id)
    shown = diff.head.display(logical_id)
    if not _is_disabled(old) and _is_disabled(new):
        yield stack_finding("wake_up", resource=shown, what="the alarm's actions are disabled")
    for leaf in leaves(ValueChange((), old, new)):
        renamed = without_endpoint_names(leaf.old, diff.base) == without_endpoint_names(leaf.new, diff.head)
        if leaf.path[0] not in (*_SAYS_NOTHING, "ActionsEnabled", "OKActions") and not renamed:
            yield stack_finding("scaling_alarm", resource=shown, what=leaf.describe())


def _is_disabled(properties: dict[str, Json]) -> bool:
    return str(properties.get("ActionsEnabled", True)).lower() != "true"


def _scaling_alarms(stack: Stack) -> dict[str, dict[str, Json]]:
    """Return the alarms with an action that is not a topic of the stack but, as far as can be told, scales."""
    found: dict[str, dict[str, Json]] = {}
    for logical_id, properties in stack.of_type(*ALARMS):
        actions = [action for name in ACTIONS for action in as_list(properties.get(name))]
        if any(stack.type_of(referenced_id(item)) == POLICY or "scalingPolicy" in canonical(item) for item in actions):
            found[logical_id] = properties
    return found


def always_fires(properties: dict[str, Json]) -> str:
    """Return why an alarm is in ALARM whatever happens, "" if it may not be or that cannot be decided."""
    rule = str(properties.get("AlarmRule", "")).strip().upper()
    if rule in ("TRUE", "(TRUE)"):
        return "its rule is TRUE"
    constant = _constant_expression(properties)
    try:
        threshold = float(properties.get("Threshold", "nan"))
    except (TypeError, ValueError):
        return ""
    operator = str(properties.get("ComparisonOperator", ""))
    if constant is None and not str(properties.get("Namespace", "")).startswith(_COUNTING):
        return ""
    value = 0.0 if constant is None else constant
    reaches = value >= threshold if operator == "GreaterThanOrEqualToThreshold" else value > threshold
    if operator in _AT_LEAST and reaches:
        return f"{'the expression' if constant is not None else 'the metric'} is never below {threshold:g}"
    if constant is not None and operator.startswith("LessThan"):
        below = constant < threshold or (constant == threshold and "OrEqual" in operator)
        return f"the expression is always {constant:g}" if below else ""
    return ""


def _constant_expression(properties: dict[str, Json]) -> float | None:
    for query in as_list(properties.get("Metrics")):
        expression = query.get("Expression") if is_object(query) and query.get("ReturnData") else None
        if expression is not None:
            try:
                return float(str(expression))
            except ValueError:
                return None
    return None
