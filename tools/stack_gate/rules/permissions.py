"""Permissions: does the change allow anyone anything new, and do buckets, topics and queues still require TLS?

Like IAM Access Analyzer's CheckNoNewAccess, but offline and for every policy of the template. Is each (principal,
action, resource, condition) that the head allows allowed by one statement of the base, and is all that the base denies
still denied? Access that only several statements of the base allow together counts as new.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from stack_gate.diff.stacks import StackDiff
from stack_gate.findings import Finding
from stack_gate.iam.conditions import Clause, alternatives, any_of, implies, is_impossible
from stack_gate.iam.example_requests import (
    describe_actions,
    describe_condition,
    describe_managed_policy,
    describe_request,
    example_rank,
)
from stack_gate.iam.patterns import covered
from stack_gate.iam.policies import EVERYONE, Permissions, Statement, read_permissions
from stack_gate.rules.tables import stack_finding
from stack_gate.template import TOKEN, Json, Resolver, Stack, as_list, canonical, is_object

Findings = dict[tuple[str, int], list[Finding]]  # by kind and index of the statement

MAX_COMPARISONS = 500_000  # of a part with a statement, in one direction: a few seconds

MAX_LISTED = 4  # actions or resources that a finding names

# The action that must be denied without TLS, by type.
TLS_ACTIONS = {"AWS::S3::Bucket": "s3:*", "AWS::SNS::Topic": "sns:publish", "AWS::SQS::Queue": "sqs:*"}
WITHOUT_TLS = frozenset(
    {Clause(set_operator="", operator="Bool", if_exists=False, key="aws:securetransport", values=("false",))}
)


def find_new_permissions(diff: StackDiff) -> Iterator[Finding]:
    """Find everything that the head newly allows, or may allow."""
    base, head = diff.base, diff.head
    before, after = read_permissions(base), read_permissions(head)
    found = _find_changes(before, after, base, head)
    if found:
        # Report only what is also new when resources go by name: an ARN that stays the same is no new access.
        before_by_name, after_by_name = read_permissions(base, by_name=True), read_permissions(head, by_name=True)
        confirmed = _find_changes(before_by_name, after_by_name, base, head)
        for key, findings in found.items():
            yield from findings if key in confirmed else ()
    for logical_id, arn in sorted(after.managed - before.managed):
        shown = head.display(logical_id)
        example = describe_managed_policy(arn, shown)
        yield stack_finding(
            "managed_policy", resource=shown, what=f"attaches {head.display_tokens(arn)}", example=example
        )
    for logical_id, _ in sorted(after.unreadable - before.unreadable):
        what = "changes permissions that only CloudFormation can evaluate"
        yield stack_finding("undecidable", resource=head.display(logical_id), what=what)
    for logical_id, _ in sorted(before.too_large ^ after.too_large):
        stack = head if logical_id in head.resources else base
        yield stack_finding("too_large", resource=stack.display(logical_id), what="a policy is too large to judge")
    still_unreadable = {logical_id for logical_id, _ in after.unreadable}
    for logical_id, _ in sorted(before.unreadable - after.unreadable):
        if logical_id in head.resources and logical_id not in still_unreadable:
            what = "removes permissions that only CloudFormation can evaluate, which may have denied something"
            yield stack_finding("undecidable", resource=base.display(logical_id), what=what)


def _find_changes(before: Permissions, after: Permissions, base: Stack, head: Stack) -> Findings:
    return {**_find_new_access(before, after, head), **_find_lost_denials(before, after, base, head)}


def _find_new_access(before: Permissions, after: Permissions, head: Stack) -> Findings:
    allowed = [statement for _, statement in before.by_effect("Allow")]
    known = set(allowed)
    denied = [statement for _, statement in after.by_effect("Deny") if not statement.condition]
    found: Findings = {}
    budget = MAX_COMPARISONS
    for index, (logical_id, statement) in enumerate(after.by_effect("Allow")):
        if statement in known:
            continue
        budget -= _comparisons(statement, [*allowed, *denied])
        if budget < 0:
            found["new", index] = [_too_large(statement, head.display(logical_id))]
            continue
        parts = [part for part in _split(statement) if not any(_spans(other, part) for other in denied)]
        answers = [(part, _is_covered(part, allowed)) for part in parts]
        new = sorted((part for part, answer in answers if answer is False), key=lambda part: example_rank(part.actions))
        undecided = [part for part, answer in answers if answer is None]
        shown = head.display(logical_id)
        if new:
            found["new", index] = list(_report_new_access(new, shown, head, allowed))
        elif undecided:
            request = describe_request(undecided[0], head, [])
            what = f"allows {request}, under a condition that cannot be compared with the base's"
            found["new", index] = [stack_finding("undecidable", resource=shown, what=what)]
    return found


def _report_new_access(new: list[Statement], shown: str, head: Stack, allowed: list[Statement]) -> Iterator[Finding]:
    yield stack_finding(
        "new_access",
        resource=shown,
        what=f"allows {_describe_parts(new, head)}{_lost_condition(new[0], allowed, head)}",
        example=describe_request(new[0], head, allowed),
    )
    for part in new:
        if EVERYONE in part.principals.patterns or part.principals.negated:
            example = describe_request(part, head, allowed)
            yield stack_finding("everyone", resource=shown, what="names everyone as principal", example=example)
            return


def _describe_parts(parts: list[Statement], stack: Stack) -> str:
    """Return the actions of parts with the resources of each, in part if there are many."""
    resources: dict[str, list[str]] = {}
    for part in parts:
        listed = resources.setdefault(describe_actions(part.actions), [])
        name = stack.display_tokens(part.resources.describe())
        listed += [name] if name not in listed else []
    actions: dict[str, list[str]] = {}
    for action, names in resources.items():
        actions.setdefault(_listed(names), []).append(action)
    return _listed([f"{_listed(several)} on {names}" for names, several in actions.items()], "; ")


def _listed(names: Sequence[str], separator: str = ", ") -> str:
    more = [f"{len(names) - MAX_LISTED} more"] if len(names) > MAX_LISTED else []
    return separator.join([*names[:MAX_LISTED], *more])


def _lost_condition(part: Statement, allowed: Sequence[Statement], stack: Stack) -> str:
    """Return the condition under which the base allows a part, and the head's: it was dropped or is wider."""
    before = {describe_condition(other.condition, stack) for other in allowed if _spans(other, part)}
    if not before:
        return ""
    now = describe_condition(part.condition, stack)
    return f"{f' when {now}' if now else ' always'}; the base allows it only when {' or when '.join(sorted(before))}"


def _find_lost_denials(before: Permissions, after: Permissions, base: Stack, head: Stack) -> Findings:
    denied = [statement for _, statement in after.by_effect("Deny")]
    known = set(denied)
    found: Findings = {}
    budget = MAX_COMPARISONS
    for index, (logical_id, statement) in enumerate(before.by_effect("Deny")):
        target = statement.attached_to
        if statement in known or (target in base.resources and target not in head.resources):
            continue
        others = [other for other in denied if other.attached_to == target]
        budget -= _comparisons(statement, others)
        if budget < 0:
            found["lost", index] = [_too_large(statement, base.display(logical_id))]
            continue
        lost = [part for part in _split(statement) if _still_exists(part, head) and not _is_covered(part, others)]
        if lost:
            resources = base.display_tokens(lost[0].resources.describe())
            condition = describe_condition(statement.condition, base)
            when = f" when {condition}" if condition else ""
            what = f"no longer denies {describe_actions(statement.actions)} on {resources}{when}"
            example = describe_request(lost[0], base, [])
            finding = stack_finding("lost_denial", resource=base.display(logical_id), what=what, example=example)
            found["lost", index] = [finding]
    return found


def _comparisons(statement: Statement, others: Sequence[Statement]) -> int:
    """Return how many comparisons a statement takes; its own parts count, since they are listed first."""
    sizes = [1 if dimension.negated else len(dimension.patterns) for dimension in statement.dimensions]
    return math.prod(sizes) * len(alternatives(statement.condition)) * (1 + len(others))


def _too_large(statement: Statement, shown: str) -> Finding:
    sizes = " x ".join(str(len(dimension.patterns)) for dimension in statement.dimensions)
    what = f"a statement of {sizes} principals, actions and resources is too large to judge"
    return stack_finding("too_large", resource=shown, what=what)


def _split(statement: Statement) -> Iterator[Statement]:
    """Yield parts of a statement with one pattern per dimension and one alternative of its condition.

    Parts that no request meets are left out.
    """
    if any(dimension.negated and "*" in dimension.patterns for dimension in statement.dimensions):
        return
    conditions = [item for item in alternatives(statement.condition) if not is_impossible(item)]
    for principals, actions, resources in product(*(dimension.split() for dimension in statement.dimensions)):
        for condition in conditions:
            yield replace(statement, principals=principals, actions=actions, resources=resources, condition=condition)


def _is_covered(part: Statement, others: Sequence[Statement]) -> bool | None:
    """Return whether one of the statements covers the part, None if a condition cannot be compared."""
    return any_of(
        implies(part.condition, alternative)
        for other in others
        if _spans(other, part)
        for alternative in (*alternatives(other.condition), other.condition)
    )


def _spans(other: Statement, part: Statement) -> bool:
    """Return whether a statement covers the part but for its condition."""
    if other.scope != part.scope:
        return False
    pairs = list(zip(other.dimensions, part.dimensions, strict=True))
    if any(outer.is_unresolved() and outer != inner for outer, inner in pairs):
        return False
    return all(outer.includes(inner) for outer, inner in pairs)


def _still_exists(part: Statement, head: Stack) -> bool:
    """Return whether every resource that the part names still exists: losing a denial about others allows nothing."""
    names = [name for dimension in part.dimensions for text in dimension.patterns for name in TOKEN.findall(text)]
    ids = [name.split(".")[0] for name in names if "::" not in name and "#" not in name and " " not in name]
    return all(name in head.resources for name in ids if name != "star")


def find_access_by_tag(diff: StackDiff) -> Iterator[Finding]:
    """Find changed tags that a condition or variable of a policy names: whoever has the tag has the access."""
    named = _statements_in_words(diff.base) + _statements_in_words(diff.head)
    named += "\n".join(text.lower() for _, text in read_permissions(diff.head).unreadable)
    if "tag/" not in named:
        return
    for logical_id in diff.head.resources:
        before, after = (_tags(stack.properties(logical_id)) for stack in (diff.base, diff.head))
        for key in sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)):
            if f"tag/{key}".lower() in named:
                what = f"tag {key}: {before.get(key, 'none')} → {after.get(key, 'none')}"
                yield stack_finding("access_by_tag", resource=diff.head.display(logical_id), what=what)


def _statements_in_words(stack: Stack) -> str:
    if "statements in words" not in stack.memo:
        found = {str(statement).lower() for _, statement in read_permissions(stack).statements}
        stack.memo["statements in words"] = "\n".join([*found, ""])
    return stack.memo["statements in words"]


def _tags(properties: dict[str, Json]) -> dict[str, str]:
    tags = properties.get("Tags")
    if is_object(tags):
        return {key: canonical(value) for key, value in tags.items()}
    listed = [tag for tag in as_list(tags) if is_object(tag)]
    return {str(tag.get("Key")): canonical(tag.get("Value")) for tag in listed}


def find_missing_tls(diff: StackDiff) -> Iterator[Finding]:
    """Find buckets, topics and queues that no longer deny requests without TLS, and new ones that do not."""
    before, after = _require_tls(diff.base), _require_tls(diff.head)
    for logical_id, _ in diff.head.of_type(*TLS_ACTIONS):
        is_new = logical_id not in diff.base.resources
        if logical_id not in after and (is_new or logical_id in before):
            what = "no statement denies requests without TLS"
            yield stack_finding("transport", resource=diff.head.display(logical_id), what=what)


def _require_tls(stack: Stack) -> set[str]:
    """Return the logical ids of resources that deny everyone every request without TLS."""
    resolver = Resolver(stack)
    denials = [statement for _, statement in read_permissions(stack).by_effect("Deny")]
    found: set[str] = set()
    for type_name, action in TLS_ACTIONS.items():
        for logical_id, _ in stack.of_type(type_name):
            arn = resolver.arn(logical_id)
            own = [denial for denial in denials if denial.attached_to == logical_id]
            reach = (arn, f"{arn}/*") if type_name == "AWS::S3::Bucket" else (arn,)
            if all(any(_denies_plain_http(denial, resource, action) for denial in own) for resource in reach):
                found.add(logical_id)
    return found


def _denies_plain_http(denial: Statement, resource: str, action: str) -> bool:
    return (
        EVERYONE in denial.principals.patterns
        and not any(dimension.negated for dimension in denial.dimensions)
        and covered(action, denial.actions.patterns)
        and covered(resource, denial.resources.patterns)
        and implies(WITHOUT_TLS, denial.condition) is True
    )
