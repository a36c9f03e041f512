"""A bucket's lifecycle rules, compared by what they remove and when."""

from typing import Any

from stack_gate.template import Json, canonical, is_list, is_object

SCOPE = ("Prefix", "TagFilters", "ObjectSizeGreaterThan", "ObjectSizeLessThan")
# Keeping parts of unfinished uploads for less time loses nothing that anybody can read.
HOUSEKEEPING = ("AbortIncompleteMultipartUpload", "ExpiredObjectDeleteMarker")
IGNORED = ("Id", "Status", *SCOPE)


def lifecycle_weakened(old: Json, new: Json) -> bool:
    """True when data of some scope goes sooner, newly goes or moves, or is never removed any more.

    Longer periods, renamed rules and earlier removal of unfinished uploads are no weakening; whatever is not understood
    is.
    """
    before, after = _actions(old), _actions(new)
    if before is None or after is None:
        return True
    return any(_weakened(action, before.get(action), after.get(action)) for action in before.keys() | after.keys())


def _actions(configuration: Json) -> dict[tuple[str, str], Any] | None:
    """{(scope, action): parameter} of every enabled rule; None where the rules cannot be read, or overlap."""
    if configuration is None:
        return {}
    rules = configuration.get("Rules") if is_object(configuration) else None
    if not is_list(rules) or not all(is_object(rule) for rule in rules):
        return None
    settings = {key: value for key, value in configuration.items() if key != "Rules"}
    listed = [((_scope(rule), name), value) for rule in rules for name, value in _enabled(rule).items()]
    if settings:
        listed.append((("", "settings"), settings))
    actions = dict(listed)
    return actions if len(actions) == len(listed) else None


def _scope(rule: dict[str, Any]) -> str:
    return canonical({key: rule[key] for key in SCOPE if rule.get(key)})


def _enabled(rule: dict[str, Any]) -> dict[str, Any]:
    if rule.get("Status") == "Disabled":
        return {}
    return {name: value for name, value in rule.items() if name not in IGNORED}


def _weakened(action: tuple[str, str], old: Any, new: Any) -> bool:
    if canonical(old) == canonical(new):
        return False
    before, after = _days(old), _days(new)
    if before is None or after is None:
        # A rule that appears or goes, or one without plain days. Only housekeeping may appear.
        return not (old is None and action[1] in HOUSEKEEPING)
    return after > before if action[1] in HOUSEKEEPING else after < before


def _days(value: Any) -> float | None:
    """The days of an action that has nothing else, as a number."""
    if is_object(value) and len(value) == 1:
        value = next(iter(value.values()))
    return float(value) if isinstance(value, int | str) and str(value).isdigit() else None
