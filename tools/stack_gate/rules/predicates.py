"""The predicates that rules.toml names: does a changed property weaken the resource?

Each takes the old value, the new value (they differ; None on the side that lacks it) and the stack's diff, and returns
True if the change needs a label. A value that is unknown until deployment counts as weakened.
"""

from collections.abc import Callable
from typing import Any

from stack_gate.diff.stacks import StackDiff
from stack_gate.template import Json, Stack, as_list, as_object, canonical, is_list, is_object, referenced_id, same

EMAIL_PROTOCOLS = ("email", "email-json")
SUBSCRIBERS, TOPICS = ("AWS::Lambda::Function", "AWS::SQS::Queue"), ("AWS::SNS::Topic",)
PUBLIC_ACCESS_BLOCKS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")

Predicate = Callable[[Json, Json, StackDiff], bool]


def is_true(value: Json) -> bool:
    """Return whether CloudFormation reads a value, a JSON boolean or its text, as true."""
    return str(value).lower() == "true"


def is_false(value: Json) -> bool:
    """Return whether a value is false or absent."""
    return value is None or str(value).lower() == "false"


PREDICATES: dict[str, Predicate] = {
    "must_stay_true": lambda old, new, diff: not is_false(old) and not is_true(new),
    "must_stay_false": lambda old, new, diff: not is_false(new),  # only false or absent passes
    "must_not_be_false": lambda old, new, diff: new is not None and not is_true(new),  # only true or absent passes
    "must_be_true": lambda old, new, diff: not is_true(new),  # only true passes, whatever it was
    "must_stay_enabled": lambda old, new, diff: old not in (None, "Suspended") and new != "Enabled",
    "must_stay": lambda old, new, diff: old is not None,  # may be added, but not changed or removed
    "must_not_appear": lambda old, new, diff: new is not None,  # may be removed, but not changed or added
    "must_not_change": lambda old, new, diff: True,
    "must_not_fall": lambda old, new, diff: old is not None and _may_be_less(new, old),  # may rise or be added
    "must_not_rise": lambda old, new, diff: _may_be_less(old, new),  # may only fall
    # No fewer days, and no change from or to no value, which keeps logs forever.
    "log_retention": lambda old, new, diff: _may_be_less(new, old),
}


def predicate(function: Predicate) -> Predicate:
    """Make a function available to rules.toml under its name."""
    PREDICATES[function.__name__] = function
    return function


@predicate
def bucket_encryption(old: Json, new: Json, diff: StackDiff) -> bool:
    """Only the same or a stronger algorithm passes, with the same key and the same blocked encryption types."""
    before, after = _default_encryption(old), _default_encryption(new)
    if before is None or after is None or _blocked_types(old) not in ({}, _blocked_types(new)):
        return True
    changes_key = before[1] is not None and before[1] != after[1]
    return after[0] < before[0] or changes_key or (old is not None and new is None)


@predicate
def public_access_block(old: Json, new: Json, diff: StackDiff) -> bool:
    """None of the four blocks may be lifted. S3 sets all four on a bucket whose template sets none."""
    before = dict.fromkeys(PUBLIC_ACCESS_BLOCKS, True) if old is None else old
    after = as_object(new)
    if not is_object(before):
        return True
    return any(not is_false(before.get(name)) and not is_true(after.get(name)) for name in PUBLIC_ACCESS_BLOCKS)


@predicate
def owner_enforced(old: Json, new: Json, diff: StackDiff) -> bool:
    """The bucket's owner must own every object, which must be set explicitly if it was."""
    rules = as_list((new or {}).get("Rules") if is_object(new) or new is None else [new])
    ownership = [rule.get("ObjectOwnership") if is_object(rule) else rule for rule in rules]
    return new is None or any(name != "BucketOwnerEnforced" for name in ownership)


@predicate
def subscriber(old: Json, new: Json, diff: StackDiff) -> bool:
    """Subscribers must be email addresses or resources of this stack."""
    after = as_object(new)
    return after.get("Protocol") not in EMAIL_PROTOCOLS and not _in_stack(after.get("Endpoint"), diff.head, SUBSCRIBERS)


@predicate
def own_topics(old: Json, new: Json, diff: StackDiff) -> bool:
    """Every topic must stay and belong to this stack, and messages must not include more."""
    before, after = as_object(old), as_object(new)
    includes_more = after.get("IncludeInferenceResponseIn") != before.get("IncludeInferenceResponseIn")
    topics = [after[name] for name in ("SuccessTopic", "ErrorTopic") if name in after]
    removed = set(before) - set(after)
    return bool(removed) or includes_more or not all(_in_stack(topic, diff.head, TOPICS) for topic in topics)


@predicate
def own_metric(old: Json, new: Json, diff: StackDiff) -> bool:
    """The metric must stay the same, of the same endpoint even if that is renamed."""
    return without_endpoint_names(old, diff.base) != without_endpoint_names(new, diff.head)


@predicate
def lifecycle(old: Json, new: Json, diff: StackDiff) -> bool:
    """No objects of any scope may expire or move sooner, start to, or stop to.

    Longer periods, renamed rules and earlier removal of unfinished uploads pass; rules that cannot be read do not.
    """
    before, after = _lifecycle_actions(old), _lifecycle_actions(new)
    if before is None or after is None:
        return True
    return any(_acts_worse(key[1], before.get(key), after.get(key)) for key in before.keys() | after.keys())


def _may_be_less(value: Json, limit: Json) -> bool:
    """Return whether a number is below the limit, or either is not a number."""
    try:
        return float(value) < float(limit)
    except (TypeError, ValueError):
        return True


def _default_encryption(value: Json) -> tuple[int, Json] | None:
    """Return strength and key of a bucket's default encryption, None if it is not plain."""
    if value is None:
        return 1, None  # S3 encrypts with its own key by default
    rules = value.get("ServerSideEncryptionConfiguration") if is_object(value) else None
    if not (is_list(rules) and len(rules) == 1 and is_object(rules[0])):
        return None
    default = rules[0].get("ServerSideEncryptionByDefault", {})
    strengths = {"AES256": 1, "aws:kms": 2, "aws:kms:dsse": 3}
    strength = strengths.get(str(default.get("SSEAlgorithm"))) if is_object(default) else None
    return None if strength is None else (strength, default.get("KMSMasterKeyID"))


def _blocked_types(value: Json) -> Json:
    rules = as_list(as_object(value).get("ServerSideEncryptionConfiguration"))
    return as_object(as_object(rules[0]).get("BlockedEncryptionTypes")) if rules else {}


def without_endpoint_names(value: Json, stack: Stack) -> str:
    """Return a value as text in which endpoints go by their logical ids."""
    text = canonical(value)
    for logical_id, properties in stack.of_type("AWS::SageMaker::Endpoint"):
        text = text.replace(canonical(properties.get("EndpointName", "")), f'"<{logical_id}>"')
    return text


def _in_stack(value: Json, stack: Stack, types: tuple[str, ...]) -> bool:
    """Return whether a value refers to a resource of these types: an attribute of another may be any text."""
    return stack.type_of(referenced_id(value)) in types


_SCOPE_KEYS = ("Prefix", "TagFilters", "ObjectSizeGreaterThan", "ObjectSizeLessThan")
# Removing unfinished uploads or delete markers sooner loses nothing that anyone can read.
_HOUSEKEEPING = ("AbortIncompleteMultipartUpload", "ExpiredObjectDeleteMarker")


def _lifecycle_actions(configuration: Json) -> dict[tuple[str, str], Any] | None:
    """Return {(scope, action): parameter} of the enabled rules, None if they cannot be read or overlap."""
    if configuration is None:
        return {}
    rules = configuration.get("Rules") if is_object(configuration) else None
    if not is_list(rules) or not all(is_object(rule) for rule in rules):
        return None
    listed: list[tuple[tuple[str, str], Any]] = []
    for rule in rules:
        scope = canonical({key: rule[key] for key in _SCOPE_KEYS if rule.get(key)})
        if rule.get("Status") != "Disabled":
            listed += [((scope, key), rule[key]) for key in rule if key not in ("Id", "Status", *_SCOPE_KEYS)]
    settings = {key: value for key, value in configuration.items() if key != "Rules"}
    if settings:
        listed.append((("", "settings"), settings))
    actions = dict(listed)
    return actions if len(actions) == len(listed) else None


def _acts_worse(action: str, old: Any, new: Any) -> bool:
    if same(old, new):
        return False
    before, after = _days(old), _days(new)
    if before is None or after is None:
        # The action is added or removed, or has more than days. Only housekeeping may be added.
        return not (old is None and action in _HOUSEKEEPING)
    return after > before if action in _HOUSEKEEPING else after < before


def _days(value: Any) -> float | None:
    """Return the days of an action whose only parameter they are."""
    if is_object(value) and len(value) == 1:
        value = next(iter(value.values()))
    return float(value) if isinstance(value, int | str) and str(value).isdigit() else None
