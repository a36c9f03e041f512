"""What one deployment cannot do, and has to be done in two."""

from collections.abc import Iterator

from stack_gate.difference import Difference
from stack_gate.findings import Finding
from stack_gate.fleets import Fleet, fleets
from stack_gate.intrinsics import Resolver
from stack_gate.rules import stack_finding, type_facts
from stack_gate.template import Stack, canonical, is_list


def judge_phases(base: Stack, head: Stack, difference: Difference) -> list[Finding]:
    """Findings for changes that CloudFormation or SageMaker refuse in one step."""
    return [*_variants(base, head), *_same_names(base, head, difference), *_types(base, head)]


def _variants(base: Stack, head: Stack) -> Iterator[Finding]:
    """Another type, or another name, for a variant that is deployed with a scalable target."""
    after = {(fleet.endpoint, fleet.variant): fleet for fleet in fleets(head)}
    for fleet in fleets(base):
        if not fleet.scaled or fleet.endpoint not in head.resources:
            continue
        new = after.get((fleet.endpoint, fleet.variant))
        if new is None or new.instance_types != fleet.instance_types:
            what = f"variant {fleet.variant}: {_types_of(fleet)} → {_types_of(new)}"
            yield stack_finding("variant", resource=head.display(fleet.endpoint), what=what)


def _types_of(fleet: Fleet | None) -> str:
    return "gone" if fleet is None else " or ".join(fleet.instance_types) or "no instance type"


def _same_names(base: Stack, head: Stack, difference: Difference) -> Iterator[Finding]:
    """Two resources of one physical name: one replaced by itself, or one that moves to another logical id."""
    before = {identity: logical_id for logical_id, identity in _identities(base)}
    for logical_id, identity in _identities(head):
        old_id = before.get(identity)
        change = difference.changes.get(logical_id)
        if old_id is None or change is None:
            continue
        replaced = change.impact == "WILL_REPLACE"
        moved = old_id != logical_id and old_id not in head.resources
        if moved or (old_id == logical_id and replaced and _keeps_name(head, logical_id, change.causes)):
            how = f"takes over from {base.display(old_id)}" if moved else "is replaced"
            what = f"{head.type_of(logical_id)} {how} under the same name"
            yield stack_finding("same_name", resource=head.display(logical_id), what=what)


def _keeps_name(stack: Stack, logical_id: str, causes: tuple[str, ...]) -> bool:
    """Whether the template chooses the name, and nothing that is replaced has a part in it."""
    facts = type_facts(stack.type_of(logical_id))
    if facts is None or not any(name.endswith("Name") for name in facts.identity):
        return False
    named = canonical([stack.properties(logical_id).get(name) for name in facts.identity])
    return not any(f'"{cause}"' in named for cause in causes)


def _identities(stack: Stack) -> Iterator[tuple[str, str]]:
    resolver = Resolver(stack, by_name=True)
    for logical_id, resource in stack.resources.items():
        facts = type_facts(resource.get("Type", ""))
        properties = resource.get("Properties", {})
        if facts is not None and facts.identity and all(name in properties for name in facts.identity):
            values = [_text(resolver, properties[name]) for name in facts.identity]
            yield logical_id, canonical([resource["Type"], *values])


def _text(resolver: Resolver, value: object) -> str:
    return canonical([resolver.text(item) for item in value]) if is_list(value) else resolver.text(value)


def _types(base: Stack, head: Stack) -> Iterator[Finding]:
    for logical_id, resource in head.resources.items():
        old = base.type_of(logical_id)
        if old and old != resource.get("Type"):
            what = f"type: {old} → {resource.get('Type')}"
            yield stack_finding("type_changed", resource=head.display(logical_id), what=what)
