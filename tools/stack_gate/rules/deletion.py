"""Resources with data that are destroyed, replaced or emptied, and changed protection against that."""

from collections.abc import Iterator

from stack_gate.diff.stacks import Change, StackDiff
from stack_gate.findings import Finding
from stack_gate.rules.tables import stack_finding, type_facts
from stack_gate.template import Json, Stack, as_list, as_object, is_object, same

REPLACED = ("WILL_REPLACE", "MAY_REPLACE")
DESTROYED = ("WILL_DESTROY", "WILL_ORPHAN")
EMPTIER = "Custom::S3AutoDeleteObjects"
EMPTIED_TAG = "aws-cdk:auto-delete-objects"
SNAPSHOT_BY_DEFAULT = ("AWS::RDS::DBCluster",)  # CloudFormation deletes every other type by default


def find_deletions(diff: StackDiff) -> Iterator[Finding]:
    """Find stateful resources that are destroyed, replaced or emptied, and changed deletion policies."""
    yield from _find_emptied_buckets(diff.base, diff.head)
    for logical_id, change in diff.changes.items():
        if _is_stateful(diff.base.type_of(logical_id)):
            yield from _find_loss(diff.base, diff.head, logical_id, change)
        if logical_id in diff.base.resources and logical_id in diff.head.resources:
            yield from _find_deletion_policy(diff.base, diff.head, logical_id)
    if diff.base.termination_protection and not diff.head.termination_protection:
        yield stack_finding("termination_protection", what="termination protection is switched off")


def _is_stateful(type_name: str) -> bool:
    facts = type_facts(type_name)
    return facts is not None and facts.stateful


def _find_loss(base: Stack, head: Stack, logical_id: str, change: Change) -> Iterator[Finding]:
    shown, kind = base.display(logical_id), base.type_of(logical_id).removeprefix("AWS::")
    if change.impact in DESTROYED or logical_id not in head.resources:
        retained = base.resources[logical_id].get("DeletionPolicy") in ("Retain", "RetainExceptOnCreate")
        fate = "leaves the stack but is retained" if retained else "is destroyed"
        yield stack_finding("destroyed", resource=shown, what=f"{kind} {fate}")
    elif change.impact in REPLACED:
        causes = [name for name, impact in change.properties.items() if impact in REPLACED]
        verb = "is" if change.impact == "WILL_REPLACE" else "may be"
        what = f"{kind} {verb} replaced, because of {', '.join(causes) or 'a resource it refers to'}"
        yield stack_finding("replaced", resource=shown, what=what)


def _find_deletion_policy(base: Stack, head: Stack, logical_id: str) -> Iterator[Finding]:
    type_name = head.type_of(logical_id)
    # A stateful resource should set its policy, so losing an explicit Delete counts as a change.
    default = "not set (Delete)" if _is_stateful(type_name) else "Delete"
    default = "Snapshot" if type_name in SNAPSHOT_BY_DEFAULT else default
    for attribute in ("DeletionPolicy", "UpdateReplacePolicy"):
        before, after = (stack.resources[logical_id].get(attribute, default) for stack in (base, head))
        if not same(before, after):
            what = f"{attribute}: {before} → {after}"
            yield stack_finding("deletion_policy", resource=head.display(logical_id), what=what)


def _find_emptied_buckets(base: Stack, head: Stack) -> Iterator[Finding]:
    """CDK's emptier deletes every object when its custom resource is deleted or gets another bucket."""
    before, after = _emptiers(base), _emptiers(head)
    for bucket in sorted(set(before.values()) - set(after.values())):
        if _has_emptied_tag(head, bucket):
            what = "its bucket emptier is removed while the bucket keeps its tag: every object is deleted"
            yield stack_finding("emptied", resource=head.display(bucket), what=what)
    for logical_id, bucket in before.items():
        if logical_id not in head.resources and bucket in after.values() and _has_emptied_tag(head, bucket):
            what = "the emptier's custom resource gets another logical id: deleting the old one empties the bucket"
            yield stack_finding("emptied", resource=head.display(bucket), what=what)
    for bucket in sorted(set(after.values()) - set(before.values())):
        if bucket in base.resources:
            what = "a bucket emptier is added to an existing bucket"
            yield stack_finding("emptier_added", resource=head.display(bucket), what=what)


def find_kept_versions(diff: StackDiff) -> Iterator[Finding]:
    """Find buckets that begin to keep every version of every object for ever."""
    for logical_id, properties in diff.head.of_type("AWS::S3::Bucket"):
        if _keeps_versions(properties) and not _keeps_versions(diff.base.properties(logical_id)):
            what = "versioning is enabled and no rule expires noncurrent versions of all objects"
            yield stack_finding("kept_versions", resource=diff.head.display(logical_id), what=what)


def _keeps_versions(properties: dict[str, Json]) -> bool:
    if as_object(properties.get("VersioningConfiguration")).get("Status") in (None, "Suspended"):
        return False
    rules = [
        rule for rule in as_list(as_object(properties.get("LifecycleConfiguration")).get("Rules")) if is_object(rule)
    ]
    scopes = ("Prefix", "TagFilters", "ObjectSizeGreaterThan", "ObjectSizeLessThan")
    expiries = ("NoncurrentVersionExpiration", "NoncurrentVersionExpirationInDays")
    return not any(
        rule.get("Status") == "Enabled"
        and any(name in rule for name in expiries)
        and not any(rule.get(name) for name in scopes)
        for rule in rules
    )


def _emptiers(stack: Stack) -> dict[str, str]:
    """Return {logical id of an emptier's custom resource: logical id of its bucket}."""
    names = {logical_id: properties.get("BucketName") for logical_id, properties in stack.of_type(EMPTIER)}
    return {
        logical_id: str(name.get("Ref", "")) if is_object(name) else str(name) for logical_id, name in names.items()
    }


def _has_emptied_tag(stack: Stack, bucket: str) -> bool:
    tags = stack.properties(bucket).get("Tags", [])
    return any(is_object(tag) and tag.get("Key") == EMPTIED_TAG for tag in tags)
