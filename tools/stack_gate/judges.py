"""The judges that rules.toml names: does a property's change weaken the resource?

Each takes the old and the new value (None where there is none; they differ) and where they stand, and answers True
when the change needs a label. What cannot be decided, as a value known only at deploy time, counts as weakened.
"""

from collections.abc import Callable
from dataclasses import dataclass

from stack_gate.lifecycle import lifecycle_weakened
from stack_gate.template import Json, Stack, as_list, as_object, canonical, is_list, is_object

MAILBOXES = ("email", "email-json")
PUBLIC_ACCESS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
FUNCTIONS = ("Ref", "Fn::GetAtt")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a change stands: both stacks."""

    base: Stack
    head: Stack


Judge = Callable[[Json, Json, Place], bool]


def is_true(value: Json) -> bool:
    """A boolean as CloudFormation reads it: JSON's own or its text."""
    return str(value).lower() == "true"


def is_false(value: Json) -> bool:
    """False, or absent."""
    return value is None or str(value).lower() == "false"


def must_stay_true(old: Json, new: Json, place: Place) -> bool:
    """Weakened when what was true is not so any more."""
    return not is_false(old) and not is_true(new)


def must_stay_false(old: Json, new: Json, place: Place) -> bool:
    """Weakened when it is anything but false or absent."""
    return not is_false(new)


def must_not_be_false(old: Json, new: Json, place: Place) -> bool:
    """Weakened when it is anything but true or absent."""
    return new is not None and not is_true(new)


def must_stay_enabled(old: Json, new: Json, place: Place) -> bool:
    """Weakened when `Enabled` becomes anything else."""
    return old not in (None, "Suspended") and new != "Enabled"


def must_stay(old: Json, new: Json, place: Place) -> bool:
    """Weakened when what was there goes or changes; it may appear."""
    return old is not None


def must_not_appear(old: Json, new: Json, place: Place) -> bool:
    """Weakened when it appears or changes; it may go."""
    return new is not None


def fixed(old: Json, new: Json, place: Place) -> bool:
    """Weakened by every change."""
    return True


def must_not_fall(old: Json, new: Json, place: Place) -> bool:
    """Weakened when a number gets smaller, goes, or cannot be compared; it may appear."""
    if old is None:
        return False
    before, after = _number(old), _number(new)
    return before is None or after is None or after < before


def must_not_rise(old: Json, new: Json, place: Place) -> bool:
    """Weakened when a number gets larger, appears, or cannot be compared."""
    before, after = _number(old), _number(new)
    return before is None or after is None or after > before


def log_retention(old: Json, new: Json, place: Place) -> bool:
    """Weakened by fewer days, by days where logs stayed for ever, and by for ever where there were days."""
    before, after = _number(old), _number(new)
    return before is None or after is None or after < before


def bucket_encryption(old: Json, new: Json, place: Place) -> bool:
    """Weakened by an algorithm of lower rank, another key, none where one was named, or other types refused."""
    before, after = _encryption(old), _encryption(new)
    if before is None or after is None or _refused_types(old) not in ({}, _refused_types(new)):
        return True
    other_key = before[1] is not None and before[1] != after[1]
    return after[0] < before[0] or other_key or (old is not None and new is None)


def public_access_block(old: Json, new: Json, place: Place) -> bool:
    """Weakened when one of the four blocks is lifted. A bucket that never named them has all four, as S3 makes it."""
    before = {name: True for name in PUBLIC_ACCESS} if old is None else old
    after = new if is_object(new) else {}
    if not is_object(before):
        return True
    return any(not is_false(before.get(name)) and not is_true(after.get(name)) for name in PUBLIC_ACCESS)


def owner_enforced(old: Json, new: Json, place: Place) -> bool:
    """Weakened unless every object belongs to the bucket's owner, which is also the default of a new bucket."""
    rules = as_list((new or {}).get("Rules") if is_object(new) or new is None else [new])
    named = [rule.get("ObjectOwnership") if is_object(rule) else rule for rule in rules]
    return new is None or any(name != "BucketOwnerEnforced" for name in named)


def subscriber(old: Json, new: Json, place: Place) -> bool:
    """Weakened by a new or other subscriber that is neither a mailbox nor a resource of this stack."""
    after = as_object(new)
    return after.get("Protocol") not in MAILBOXES and not _own(after.get("Endpoint"), place.head)


def own_reference(old: Json, new: Json, place: Place) -> bool:
    """Weakened unless the value refers to a resource of this stack, or goes."""
    return new is not None and not _own(new, place.head)


def own_topics(old: Json, new: Json, place: Place) -> bool:
    """Weakened unless every topic that was named still is, each is this stack's own, and messages hold no more."""
    before, after = as_object(old), as_object(new)
    lost = set(before) - set(after)
    grown = after.get("IncludeInferenceResponseIn") != before.get("IncludeInferenceResponseIn")
    topics = [after[name] for name in ("SuccessTopic", "ErrorTopic") if name in after]
    return bool(lost) or grown or not all(_own(topic, place.head) for topic in topics)


def own_metric(old: Json, new: Json, place: Place) -> bool:
    """Weakened unless the metric is the same, of the same endpoint by whatever name."""
    return _nameless(old, place.base) != _nameless(new, place.head)


def code_source(old: Json, new: Json, place: Place) -> bool:
    """Weakened unless the code is still an object of the same bucket, where CDK puts assets."""
    before, after = as_object(old), as_object(new)
    return set(after) != {"S3Bucket", "S3Key"} or before.get("S3Bucket") != after["S3Bucket"]


def lifecycle(old: Json, new: Json, place: Place) -> bool:
    """See lifecycle.py."""
    return lifecycle_weakened(old, new)


JUDGES: dict[str, Judge] = {
    judge.__name__: judge
    for judge in (
        must_stay_true,
        must_stay_false,
        must_not_be_false,
        must_stay_enabled,
        must_stay,
        must_not_appear,
        fixed,
        must_not_fall,
        must_not_rise,
        log_retention,
        bucket_encryption,
        public_access_block,
        owner_enforced,
        subscriber,
        own_reference,
        own_topics,
        own_metric,
        code_source,
        lifecycle,
    )
}


def _number(value: Json) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _encryption(value: Json) -> tuple[int, Json] | None:
    """Rank and key of a bucket's default encryption; None where it cannot be told."""
    if value is None:
        return 1, None  # S3 encrypts with its own key by default
    rules = value.get("ServerSideEncryptionConfiguration") if is_object(value) else None
    if not (is_list(rules) and len(rules) == 1 and is_object(rules[0])):
        return None
    default = rules[0].get("ServerSideEncryptionByDefault", {})
    ranks = {"AES256": 1, "aws:kms": 2, "aws:kms:dsse": 3}
    rank = ranks.get(str(default.get("SSEAlgorithm"))) if is_object(default) else None
    return None if rank is None else (rank, default.get("KMSMasterKeyID"))


def _refused_types(value: Json) -> Json:
    """The kinds of encryption that a bucket refuses, of its one rule."""
    rules = as_list(as_object(value).get("ServerSideEncryptionConfiguration"))
    return as_object(as_object(rules[0]).get("BlockedEncryptionTypes")) if rules else {}


def _nameless(value: Json, stack: Stack) -> str:
    text = canonical(value)
    for logical_id, properties in stack.of_type("AWS::SageMaker::Endpoint"):
        text = text.replace(canonical(properties.get("EndpointName", "")), f'"<{logical_id}>"')
    return text


def _own(value: Json, stack: Stack) -> bool:
    """A reference to a resource of the stack itself."""
    if not is_object(value) or len(value) != 1:
        return False
    function, argument = next(iter(value.items()))
    target = argument.split(".")[0] if isinstance(argument, str) else str(as_list(argument)[0])
    return function in FUNCTIONS and target in stack.resources
