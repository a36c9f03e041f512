"""Does the change let anybody do anything new? Decided offline, as IAM Access Analyzer's CheckNoNewAccess does with
credentials, for every identity's and every resource's policy of the template.

Two questions suffice. Is every (principal, action, resource, condition) that the head allows allowed by one statement
of the base? And is all that the base refuses still refused? Patterns are compared exactly (globs.py); where only
several statements of the base together allow what one of the head does, the answer errs towards "new".
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from stack_gate.conditions import alternatives, implies
from stack_gate.counterexample import describe, managed_policy_allows, spelled, telling
from stack_gate.findings import Finding
from stack_gate.grants import Grants, collect
from stack_gate.intrinsics import TOKEN
from stack_gate.rules import stack_finding
from stack_gate.statements import EVERYBODY, Statement
from stack_gate.template import Stack

Found = dict[tuple[str, int], list[Finding]]  # by kind and place of the statement


def judge_permissions(base: Stack, head: Stack) -> list[Finding]:
    """Findings for all that the head newly allows, and for what cannot be decided."""
    before, after = collect(base), collect(head)
    found = {**_new_access(before, after, head), **_lost_denials(before, after, base, head)}
    if found:
        found = _confirmed(found, base, head)
    listed = [finding for findings in found.values() for finding in findings]
    return [*listed, *_managed(before, after, head), *_unreadable(before, after, base, head)]


def _confirmed(found: Found, base: Stack, head: Stack) -> Found:
    """Without what is not new when resources go by name: an ARN that stays the same is no new access."""
    before, after = collect(base, by_name=True), collect(head, by_name=True)
    again = _new_access(before, after, head).keys() | _lost_denials(before, after, base, head).keys()
    return {key: findings for key, findings in found.items() if key in again}


def _new_access(before: Grants, after: Grants, head: Stack) -> Found:
    allowed, _ = _sides(before)
    granted, refused = _sides(after)
    known = {statement for _, statement in allowed}
    found: Found = {}
    for index, (logical_id, statement) in enumerate(granted):
        if statement in known:
            continue
        fresh = [atom for atom in _atoms(statement) if not _always_refused(atom, refused)]
        answers = [(atom, _answer(atom, allowed)) for atom in fresh]
        findings = _report(answers, logical_id, head, [other for _, other in allowed])
        if findings:
            found["new", index] = findings
    return found


def _report(
    answers: list[tuple[Statement, bool | None]], logical_id: str, head: Stack, allowed: list[Statement]
) -> list[Finding]:
    new = sorted((atom for atom, answer in answers if answer is False), key=lambda atom: telling(atom.actions))
    undecided = [atom for atom, answer in answers if answer is None]
    if new:
        return list(_report_new(new, logical_id, head, allowed))
    if undecided:
        what = f"allows {describe(undecided[0], head, [])}, under a condition that cannot be compared with the base's"
        return [stack_finding("undecidable", resource=head.display(logical_id), what=what)]
    return []


def _report_new(new: list[Statement], logical_id: str, head: Stack, allowed: list[Statement]) -> Iterator[Finding]:
    shown = head.display(logical_id)
    more = f", and {len(new) - 1} more of this kind" if len(new) > 1 else ""
    yield stack_finding(
        "new_access",
        resource=shown,
        what=f"allows {spelled(new[0].actions)} on {_named(new[0].resources.words(), head)}{more}",
        example=describe(new[0], head, allowed),
    )
    public = [atom for atom in new if EVERYBODY in atom.principals.patterns or atom.principals.negated]
    if public:
        example = describe(public[0], head, allowed)
        yield stack_finding("everyone", resource=shown, what="names everybody as principal", example=example)


def _lost_denials(before: Grants, after: Grants, base: Stack, head: Stack) -> Found:
    _, was_refused = _sides(before)
    _, refused = _sides(after)
    kept = {statement for _, statement in refused}
    found: Found = {}
    for index, (logical_id, statement) in enumerate(was_refused):
        if statement in kept or (statement.attached in base.resources and statement.attached not in head.resources):
            continue
        rivals = [(name, other) for name, other in refused if other.attached == statement.attached]
        lost = [atom for atom in _atoms(statement) if _still_there(atom, head) and not _answer(atom, rivals)]
        if lost:
            what = f"no longer refuses {spelled(statement.actions)} on {_named(lost[0].resources.words(), base)}"
            example = describe(lost[0], base, [])
            shown = base.display(logical_id)
            found["lost", index] = [stack_finding("lost_denial", resource=shown, what=what, example=example)]
    return found


def _managed(before: Grants, after: Grants, head: Stack) -> Iterator[Finding]:
    for logical_id, arn in sorted(after.managed - before.managed):
        what = f"attaches {_named(arn, head)}"
        example = managed_policy_allows(arn, head.display(logical_id))
        yield stack_finding("managed_policy", resource=head.display(logical_id), what=what, example=example)


def _unreadable(before: Grants, after: Grants, base: Stack, head: Stack) -> Iterator[Finding]:
    for logical_id, _ in sorted(after.unreadable - before.unreadable):
        what = "holds permissions that only CloudFormation can work out, and they changed"
        yield stack_finding("undecidable", resource=head.display(logical_id), what=what)
    for logical_id, _ in sorted(before.unreadable - after.unreadable):
        if logical_id in head.resources and logical_id not in {name for name, _ in after.unreadable}:
            what = "held permissions, perhaps refusals, that only CloudFormation can work out, and no longer does"
            yield stack_finding("undecidable", resource=base.display(logical_id), what=what)


def _sides(grants: Grants) -> tuple[list[tuple[str, Statement]], list[tuple[str, Statement]]]:
    """What is allowed, and what is refused."""
    allowed = [pair for pair in grants.statements if pair[1].effect == "Allow"]
    return allowed, [pair for pair in grants.statements if pair[1].effect == "Deny"]


def _atoms(statement: Statement) -> Iterator[Statement]:
    """The statement in parts: one pattern of each kind, and one alternative of its condition."""
    kinds = (dimension.each() for dimension in statement.dimensions)
    for principals, actions, resources in product(*kinds):
        for condition in alternatives(statement.condition):
            yield replace(statement, principals=principals, actions=actions, resources=resources, condition=condition)


def _answer(atom: Statement, others: list[tuple[str, Statement]]) -> bool | None:
    """Whether one of the statements holds for all of the atom; None where a condition cannot be compared."""
    answers = [
        implies(atom.condition, alternative)
        for _, other in others
        if _spans(other, atom)
        for alternative in (*alternatives(other.condition), other.condition)
    ]
    return True if True in answers else None if None in answers else False


def _spans(other: Statement, atom: Statement) -> bool:
    if other.scope != atom.scope:
        return False
    pairs = list(zip(other.dimensions, atom.dimensions, strict=True))
    if any(mine.uncertain() and mine != its for mine, its in pairs):
        return False
    return all(mine.includes(its) for mine, its in pairs)


def _always_refused(atom: Statement, refused: list[tuple[str, Statement]]) -> bool:
    return any(not other.condition and _spans(other, atom) for _, other in refused)


def _still_there(atom: Statement, head: Stack) -> bool:
    """Whether all that the atom names still exists: nobody can do anything to, or as, what is gone."""
    names = [name for dimension in atom.dimensions for text in dimension.patterns for name in TOKEN.findall(text)]
    plain = [name.split(".")[0] for name in names if "::" not in name and "#" not in name and " " not in name]
    return all(name in head.resources for name in plain if name != "star")


def _named(text: str, stack: Stack) -> str:
    return TOKEN.sub(lambda found: f"<{stack.display(found.group(1))}>", text)
