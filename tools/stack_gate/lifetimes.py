"""What is destroyed, replaced, emptied or kept for another time."""

from collections.abc import Iterator

from stack_gate.difference import Change, Difference
from stack_gate.findings import Finding
from stack_gate.rules import stack_finding, type_facts
from stack_gate.template import Json, Stack, canonical, is_object

EMPTIER = "Custom::S3AutoDeleteObjects"
EMPTIED_TAG = "aws-cdk:auto-delete-objects"
GONE = ("WILL_DESTROY", "WILL_ORPHAN")
REPLACED = ("WILL_REPLACE", "MAY_REPLACE")
POLICIES = ("DeletionPolicy", "UpdateReplacePolicy")
# CloudFormation's own default, but for these.
SNAPSHOT_BY_DEFAULT = ("AWS::RDS::DBCluster",)


def judge_lifetimes(base: Stack, head: Stack, difference: Difference) -> list[Finding]:
    """Findings for every resource that goes, is replaced, or whose end changes."""
    found = list(_emptied(base, head))
    for logical_id, change in difference.changes.items():
        found += _fate(base, head, logical_id, change)
        found += _deletion_policy(base, head, logical_id)
    if base.termination_protection and not head.termination_protection:
        found.append(stack_finding("termination_protection", what="termination protection is switched off"))
    return found


def is_stateful(type_name: str) -> bool:
    """Whether the type holds data, subscriptions or a name that clients know. An unknown one is reported by itself."""
    facts = type_facts(type_name)
    return facts is not None and facts.stateful


def _fate(base: Stack, head: Stack, logical_id: str, change: Change) -> Iterator[Finding]:
    type_name = base.type_of(logical_id)
    if not is_stateful(type_name):
        return
    shown = base.display(logical_id)
    if change.impact in GONE or logical_id not in head.resources:
        kept = base.resources[logical_id].get("DeletionPolicy") in ("Retain", "RetainExceptOnCreate")
        fate = "leaves the stack and stays behind" if kept else "is destroyed"
        yield stack_finding("destroyed", resource=shown, what=f"{_kind(type_name)} {fate}")
    elif change.impact in REPLACED:
        names = [name for name, impact in change.properties.items() if impact in REPLACED]
        certain = "is" if change.impact == "WILL_REPLACE" else "may be"
        what = f"{_kind(type_name)} {certain} replaced, because of {', '.join(names) or 'what it refers to'}"
        yield stack_finding("replaced", resource=shown, what=what)


def _deletion_policy(base: Stack, head: Stack, logical_id: str) -> Iterator[Finding]:
    old, new = base.resources.get(logical_id), head.resources.get(logical_id)
    if old is None or new is None:
        return
    for attribute in POLICIES:
        default = _default_policy(new.get("Type", ""))
        before, after = old.get(attribute, default), new.get(attribute, default)
        if canonical(before) != canonical(after):
            what = f"{attribute}: {before} → {after}"
            yield stack_finding("deletion_policy", resource=head.display(logical_id), what=what)


def _default_policy(type_name: str) -> str:
    """What CloudFormation does where nothing is said. Of what holds data it shall be said, so there it counts apart."""
    if type_name in SNAPSHOT_BY_DEFAULT:
        return "Snapshot"
    return "unsaid (Delete)" if is_stateful(type_name) else "Delete"


def _emptied(base: Stack, head: Stack) -> Iterator[Finding]:
    """CDK's bucket emptier acts on the deletion of its custom resource, and on a change of its bucket."""
    before, after = _emptiers(base), _emptiers(head)
    for bucket in sorted(before - after):
        if EMPTIED_TAG in _tags(head, bucket):
            what = "its bucket emptier goes while the bucket keeps its tag: every object is deleted"
            yield stack_finding("emptied", resource=head.display(bucket), what=what)
    for logical_id in _changed_ids(base, head):
        what = "the emptier's custom resource gets another logical id: the old one's deletion empties the bucket"
        yield stack_finding("emptied", resource=head.display(logical_id), what=what)
    for bucket in sorted(after - before):
        if bucket in base.resources:
            what = "a bucket emptier is added to a bucket that has none"
            yield stack_finding("emptier_added", resource=head.display(bucket), what=what)


def _changed_ids(base: Stack, head: Stack) -> Iterator[str]:
    for logical_id, properties in base.of_type(EMPTIER):
        bucket = _bucket(properties)
        if logical_id not in head.resources and bucket in _emptiers(head) and EMPTIED_TAG in _tags(head, bucket):
            yield bucket


def _emptiers(stack: Stack) -> set[str]:
    return {_bucket(properties) for _, properties in stack.of_type(EMPTIER)}


def _bucket(properties: dict[str, Json]) -> str:
    name = properties.get("BucketName")
    return str(name.get("Ref", "")) if is_object(name) else str(name)


def _tags(stack: Stack, bucket: str) -> list[str]:
    return [tag.get("Key", "") for tag in stack.properties(bucket).get("Tags", []) if is_object(tag)]


def _kind(type_name: str) -> str:
    return type_name.removeprefix("AWS::")
