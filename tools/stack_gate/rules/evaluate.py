"""Evaluate every rule on a stack's diff."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from stack_gate.diff.properties import ValueChange, leaves, matches, select
from stack_gate.diff.stacks import StackDiff
from stack_gate.findings import Finding
from stack_gate.rules.cost import Prices, find_higher_costs
from stack_gate.rules.deletion import find_deletions, find_kept_versions
from stack_gate.rules.origins import find_foreign_origins, find_macros
from stack_gate.rules.permissions import find_access_by_tag, find_missing_tls, find_new_permissions
from stack_gate.rules.predicates import PREDICATES
from stack_gate.rules.scaling import find_scaling_changes
from stack_gate.rules.secrets import find_environments, find_secrets
from stack_gate.rules.suppressions import find_suppressions
from stack_gate.rules.tables import JUDGE_NEW, all_rules, foreign_rows, stack_finding, type_facts
from stack_gate.rules.two_phase import find_two_phase_changes
from stack_gate.template import as_object, canonical, same

# Parts of a template and attributes of a resource that change nothing by themselves, or that other rules look at.
HARMLESS_PARTS = ("Resources", "Description", "Outputs", "Rules", "Metadata", "AWSTemplateFormatVersion", "Parameters")
HARMLESS_ATTRIBUTES = ("Metadata", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Type", "Properties")


def evaluate(diff: StackDiff, price_tables: Sequence[Prices]) -> list[Finding]:
    """Return the findings of every rule, without duplicates."""
    found = [finding for rule in RULES for finding in rule(diff)]
    return list(dict.fromkeys([*found, *find_higher_costs(diff, price_tables)]))


def find_moved_stack(diff: StackDiff) -> Iterator[Finding]:
    """Find a stack that is removed or gets another name, region or account."""
    if diff.is_removed:
        yield stack_finding("stack_removed", what=f"stack {diff.base.name} is no longer in the app")
        return
    before, after = ((stack.name, stack.region, stack.account) for stack in (diff.base, diff.head))
    if not diff.is_new and before != after:
        yield stack_finding("moved", what=f"{' '.join(before).strip()} → {' '.join(after).strip()}")


def find_weakened_properties(diff: StackDiff) -> Iterator[Finding]:
    """Apply rules.toml and types.toml to every resource, since CDK's differ misses a few changes."""
    for logical_id in diff.head.resources:
        if diff.base.type_of(logical_id) == diff.head.type_of(logical_id):
            yield from _check_update(diff, logical_id)
        else:
            yield from _check_addition(diff, logical_id)


def _check_update(diff: StackDiff, logical_id: str) -> Iterator[Finding]:
    type_name, shown = diff.head.type_of(logical_id), diff.head.display(logical_id)
    facts = type_facts(type_name)
    if facts is None:
        return
    old, new = diff.base.properties(logical_id), diff.head.properties(logical_id)
    rules = all_rules(type_name)
    for rule in rules:
        for change in select(old, new, rule.path):
            if PREDICATES[rule.predicate](change.old, change.new, diff):
                yield Finding(class_name=rule.class_name, resource=shown, what=change.describe(), why=rule.why)
    if facts.otherwise is not None:
        yield from _unlisted(ValueChange((), old, new), type_name, facts.otherwise, shown)


def _unlisted(change: ValueChange, type_name: str, class_name: str, shown: str) -> Iterator[Finding]:
    """Find changed properties that no rule and no list of types.toml names."""
    facts = type_facts(type_name)
    if facts is None:
        return
    # Deletion and permission rules look at the properties that identify a resource.
    known = ["Tags", *facts.free, *facts.identity, *(rule.path for rule in all_rules(type_name))]
    named = {key for row in foreign_rows() if row.covers(type_name) for key in row.keys}
    unknown: dict[str, ValueChange] = {}
    for leaf in leaves(change):
        if not any(matches(pattern, leaf.path) for pattern in known) and not named & set(leaf.path):
            unknown.setdefault(leaf.path[0], leaf)
    for _, leaf in sorted(unknown.items()):
        why = f"no rule says that this is harmless ({facts.why})"
        yield Finding(class_name=class_name, resource=shown, what=leaf.describe(), why=why)


def _check_addition(diff: StackDiff, logical_id: str) -> Iterator[Finding]:
    """Judge a new resource as one that was changed from nothing."""
    type_name, shown = diff.head.type_of(logical_id), diff.head.display(logical_id)
    new = diff.head.properties(logical_id)
    for rule in all_rules(type_name):
        changes = list(select({}, new, rule.path)) if rule.added else []
        if rule.required and not changes:
            changes = [ValueChange(tuple(rule.path.split(".")), None, None)]
        for change in changes:
            differs = rule.required or not same(rule.baseline, change.new)
            if differs and PREDICATES[rule.predicate](rule.baseline, change.new, diff):
                what = ValueChange(change.path, rule.baseline, change.new).describe()
                yield Finding(class_name=rule.class_name, resource=shown, what=what, why=rule.why)
    facts = type_facts(type_name)
    if facts is not None and facts.added:
        yield Finding(class_name=facts.added, resource=shown, what=f"a new {type_name}", why=facts.why)
    elif facts is not None and facts.otherwise in JUDGE_NEW:
        yield from _unlisted(ValueChange((), {}, new), type_name, facts.otherwise, shown)


def find_network_access(diff: StackDiff) -> Iterator[Finding]:
    if diff.network_broadened:
        yield stack_finding("network", what="security group rules are added")


def find_unknown_changes(diff: StackDiff) -> Iterator[Finding]:
    """Find changed resources of types without rules, and changed template parts that affect resources."""
    base, head = diff.base, diff.head
    for logical_id, change in diff.changes.items():
        stack = head if logical_id in head.resources else base
        type_name = stack.type_of(logical_id)
        if type_facts(type_name) is None and change.impact != "NO_CHANGE":
            what = f"{type_name}: {change.impact.replace('_', ' ').lower()}"
            yield stack_finding("unknown_type", resource=stack.display(logical_id), what=what)
    for part in _changed_keys(base.template, head.template):
        if part not in HARMLESS_PARTS:
            what = ValueChange((part,), base.template.get(part), head.template.get(part)).describe()
            yield stack_finding("unknown_part", what=f"the template's {what}")
    parameters = [as_object(stack.template.get("Parameters")) for stack in (base, head)]
    changed = _changed_keys(*parameters)
    parts = [{key: value for key, value in stack.template.items() if key != "Rules"} for stack in (base, head)]
    used = canonical(parts) if changed else ""
    for name in changed:
        if f'{{"Ref": "{name}"}}' in used or f"${{{name}}}" in used:
            change = ValueChange((name,), parameters[0].get(name), parameters[1].get(name)).describe()
            what = f"parameter {change}; resources, outputs or conditions use it"
            yield stack_finding("unknown_part", what=what)
    for logical_id, resource in head.resources.items():
        for name in _changed_keys(base.resources.get(logical_id, {}), resource):
            if name not in HARMLESS_ATTRIBUTES:
                old = base.resources.get(logical_id, {}).get(name)
                what = f"its {ValueChange((name,), old, resource.get(name)).describe()}"
                yield stack_finding("unknown_part", resource=head.display(logical_id), what=what)


def _changed_keys(old: dict[str, object], new: dict[str, object]) -> list[str]:
    return [name for name in sorted(old.keys() | new.keys()) if not same(old.get(name), new.get(name))]


RULES: tuple[Callable[[StackDiff], Iterable[Finding]], ...] = (
    find_moved_stack,
    find_deletions,
    find_weakened_properties,
    find_new_permissions,
    find_missing_tls,
    find_access_by_tag,
    find_foreign_origins,
    find_macros,
    find_secrets,
    find_environments,
    find_scaling_changes,
    find_kept_versions,
    find_two_phase_changes,
    find_suppressions,
    find_unknown_changes,
    find_network_access,
)
