"""Changes that CloudFormation or SageMaker refuses in one deployment."""

from collections.abc import Iterator

from stack_gate.diff.stacks import StackDiff
from stack_gate.findings import Finding
from stack_gate.rules.cost import Variant, endpoint_variants
from stack_gate.rules.tables import stack_finding, type_facts
from stack_gate.template import Resolver, Stack, canonical, is_list


def find_two_phase_changes(diff: StackDiff) -> Iterator[Finding]:
    yield from _find_scaled_variants(diff.base, diff.head)
    yield from _find_duplicate_names(diff)
    for logical_id, resource in diff.head.resources.items():
        old = diff.base.type_of(logical_id)
        if old and old != resource.get("Type"):
            what = f"type: {old} → {resource.get('Type')}"
            yield stack_finding("type_changed", resource=diff.head.display(logical_id), what=what)


def _find_scaled_variants(base: Stack, head: Stack) -> Iterator[Finding]:
    """Find another instance type or name for a variant that has a scalable target."""
    after = {(variant.endpoint, variant.name): variant for variant in endpoint_variants(head)}
    for variant in endpoint_variants(base):
        if not variant.scaled or variant.endpoint not in head.resources:
            continue
        new = after.get((variant.endpoint, variant.name))
        if new is None or new.instance_types != variant.instance_types:
            what = f"variant {variant.name}: {_instance_types(variant)} → {_instance_types(new)}"
            yield stack_finding("variant", resource=head.display(variant.endpoint), what=what)


def _instance_types(variant: Variant | None) -> str:
    return "removed" if variant is None else " or ".join(variant.instance_types) or "no instance type"


def _find_duplicate_names(diff: StackDiff) -> Iterator[Finding]:
    """Find names that two resources need at once: one is replaced by itself, or gets another logical id."""
    base, head = diff.base, diff.head
    before = {identity: logical_id for logical_id, identity in _identities(base)}
    for logical_id, identity in _identities(head):
        old_id, change = before.get(identity), diff.changes.get(logical_id)
        if old_id is None or change is None:
            continue
        replaced = old_id == logical_id and change.impact == "WILL_REPLACE"
        moved = old_id != logical_id and old_id not in head.resources
        if moved or (replaced and _keeps_name(head, logical_id, change.causes)):
            how = f"takes over from {base.display(old_id)}" if moved else "is replaced"
            what = f"{head.type_of(logical_id)} {how} under the same name"
            yield stack_finding("same_name", resource=head.display(logical_id), what=what)


def _keeps_name(stack: Stack, logical_id: str, causes: tuple[str, ...]) -> bool:
    """Return whether the template sets the name, and sets it independently of replaced resources."""
    facts = type_facts(stack.type_of(logical_id))
    if facts is None or not any(name.endswith("Name") for name in facts.identity):
        return False
    named = canonical([stack.properties(logical_id).get(name) for name in facts.identity])
    return not any(f'"{cause}"' in named for cause in causes)


def _identities(stack: Stack) -> Iterator[tuple[str, str]]:
    """Yield (logical id, type and physical name) of every resource whose name the template sets."""
    resolver = Resolver(stack, by_name=True)
    for logical_id, resource in stack.resources.items():
        facts = type_facts(resource.get("Type", ""))
        properties = resource.get("Properties", {})
        if facts is not None and facts.identity and all(name in properties for name in facts.identity):
            values = [properties[name] for name in facts.identity]
            texts = [
                canonical([resolver.text(item) for item in value]) if is_list(value) else resolver.text(value)
                for value in values
            ]
            yield logical_id, canonical([resource["Type"], *texts])
