"""What the gate has no rules for: reported, never skipped."""

from collections.abc import Iterator

from stack_gate.difference import Difference
from stack_gate.findings import Finding
from stack_gate.rules import stack_finding, type_facts
from stack_gate.template import Stack, as_object, canonical

# Assert what parameters are, or say something about the template itself.
HARMLESS_PARTS = ("Resources", "Description", "Outputs", "Rules", "Metadata", "AWSTemplateFormatVersion", "Parameters")
HARMLESS_ATTRIBUTES = ("Metadata", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Type", "Properties")


def judge_unknown(base: Stack, head: Stack, difference: Difference) -> list[Finding]:
    """Findings for changed resources of unknown types and for changed parts of a template that govern resources."""
    found = [*_types(base, head, difference), *_parts(base, head), *_parameters(base, head)]
    for logical_id in head.resources:
        found += _attributes(base, head, logical_id)
    return found


def _types(base: Stack, head: Stack, difference: Difference) -> Iterator[Finding]:
    for logical_id, change in difference.changes.items():
        stack = head if logical_id in head.resources else base
        type_name = stack.type_of(logical_id)
        if type_facts(type_name) is None and change.impact != "NO_CHANGE":
            what = f"{type_name}: {change.impact.replace('_', ' ').lower()}"
            yield stack_finding("unknown_type", resource=stack.display(logical_id), what=what)


def _parts(base: Stack, head: Stack) -> Iterator[Finding]:
    for part in sorted(base.template.keys() | head.template.keys()):
        before, after = base.template.get(part), head.template.get(part)
        if part not in HARMLESS_PARTS and canonical(before) != canonical(after):
            yield stack_finding("unknown_part", what=f"the template's {part} change")


def _parameters(base: Stack, head: Stack) -> Iterator[Finding]:
    """A parameter's default counts where a resource uses it."""
    before, after = (as_object(stack.template.get("Parameters")) for stack in (base, head))
    used = canonical(head.resources)
    for name in sorted(before.keys() | after.keys()):
        refers = f'{{"Ref": "{name}"}}' in used or f"${{{name}}}" in used
        if refers and canonical(before.get(name)) != canonical(after.get(name)):
            yield stack_finding("unknown_part", what=f"parameter {name}, which resources use, changes")


def _attributes(base: Stack, head: Stack, logical_id: str) -> Iterator[Finding]:
    """Condition, CreationPolicy, UpdatePolicy and the like."""
    old, new = base.resources.get(logical_id), head.resources[logical_id]
    if old is None:
        old = {}
    for name in sorted(old.keys() | new.keys()):
        if name not in HARMLESS_ATTRIBUTES and canonical(old.get(name)) != canonical(new.get(name)):
            what = f"its {name} changes"
            yield stack_finding("unknown_part", resource=head.display(logical_id), what=what)
