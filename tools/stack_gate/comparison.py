"""Two stacks, judged by every rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stack_gate.assets import AssetChange, changed_assets
from stack_gate.difference import Difference, differences
from stack_gate.findings import Finding
from stack_gate.lifetimes import judge_lifetimes
from stack_gate.money import Cost, Prices, cost, judge_money
from stack_gate.permissions import judge_permissions
from stack_gate.phases import judge_phases
from stack_gate.properties import changed_values, judge_addition, judge_update
from stack_gate.redeploys import redeploys
from stack_gate.rules import stack_finding
from stack_gate.template import Stack
from stack_gate.transport import judge_transport
from stack_gate.unknown import judge_unknown


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a change does to one stack.

    `impacts` are resources by what happens to them, `values` what changes in each, `redeploys` chains of what is
    deployed anew. `before` or `after` is None for a stack that the change adds or removes.
    """

    name: str
    findings: list[Finding]
    impacts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    values: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    redeploys: list[list[str]] = field(default_factory=list[list[str]])
    assets: list[AssetChange] = field(default_factory=list[AssetChange])
    before: Cost | None = None
    after: Cost | None = None
    permissions_broadened: bool = False


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One stack before and after."""

    base: Stack
    head: Stack
    is_new: bool = False
    is_removed: bool = False


def compare(pairs: Sequence[Pair], tables: Sequence[Prices]) -> list[Comparison]:
    """Judge each pair. `tables` are price tables: the first is the one that costs are shown by."""
    templates = [(pair.base.template, pair.head.template) for pair in pairs]
    return [_compare(pair, found, tables) for pair, found in zip(pairs, differences(templates), strict=True)]


def pair_up(base: Sequence[Stack], head: Sequence[Stack]) -> list[Pair]:
    """Stacks of one environment that belong together: by name, or where there is one of each, those two."""
    if len(base) == 1 and len(head) == 1:
        return [Pair(base=base[0], head=head[0])]
    before, after = {stack.name: stack for stack in base}, {stack.name: stack for stack in head}
    pairs = [
        Pair(base=before.get(name, _empty(stack)), head=stack, is_new=name not in before)
        for name, stack in after.items()
    ]
    gone = [stack for name, stack in before.items() if name not in after]
    return pairs + [Pair(base=stack, head=_empty(stack), is_removed=True) for stack in gone]


def judge(pair: Pair, difference: Difference, tables: Sequence[Prices]) -> list[Finding]:
    """Every finding for one pair, each once."""
    base, head = pair.base, pair.head
    found = [
        *_moved(pair),
        *judge_lifetimes(base, head, difference),
        *_properties(base, head, difference),
        *judge_permissions(base, head),
        *judge_transport(base, head),
        *judge_money(base, head, list(tables)),
        *judge_phases(base, head, difference),
        *judge_unknown(base, head, difference),
    ]
    if difference.network_broadened:
        found.append(stack_finding("network", what="security group rules are added"))
    return list(dict.fromkeys(found))


def _compare(pair: Pair, difference: Difference, tables: Sequence[Prices]) -> Comparison:
    base, head = pair.base, pair.head
    prices: Mapping[str, float] = tables[0] if tables else {}
    return Comparison(
        name=head.name,
        findings=judge(pair, difference, tables),
        impacts=_impacts(base, head, difference),
        values=_values(base, head, difference),
        redeploys=[[head.display(name) for name in chain] for chain in redeploys(head, difference)],
        assets=changed_assets(base, head),
        before=None if pair.is_new else cost(base, prices),
        after=None if pair.is_removed else cost(head, prices),
        permissions_broadened=difference.permissions_broadened,
    )


def _properties(base: Stack, head: Stack, difference: Difference) -> list[Finding]:
    """CDK's differ overlooks a few changes (see difference.js), so every resource is looked at."""
    found: list[Finding] = []
    for logical_id in head.resources:
        both = base.type_of(logical_id) == head.type_of(logical_id)
        found += judge_update(base, head, logical_id) if both else judge_addition(head, logical_id)
    return found


def _moved(pair: Pair) -> list[Finding]:
    if pair.is_removed:
        return [stack_finding("stack_removed", what=f"stack {pair.base.name} is no longer made")]
    before, after = ((stack.name, stack.region, stack.account) for stack in (pair.base, pair.head))
    if pair.is_new or before == after:
        return []
    return [stack_finding("moved", what=f"{' '.join(before).strip()} → {' '.join(after).strip()}")]


def _impacts(base: Stack, head: Stack, difference: Difference) -> dict[str, list[str]]:
    """Resources by what happens to them, in CDK's words."""
    impacts: dict[str, list[str]] = {}
    for logical_id, change in difference.changes.items():
        impacts.setdefault(change.impact, []).append(_named(base, head, logical_id))
    return {impact: sorted(names) for impact, names in sorted(impacts.items())}


def _values(base: Stack, head: Stack, difference: Difference) -> dict[str, list[str]]:
    """What changes in each resource that both stacks have."""
    both = [name for name in difference.changes if name in base.resources and name in head.resources]
    return {_named(base, head, name): changed_values(base, head, name) for name in both}


def _named(base: Stack, head: Stack, logical_id: str) -> str:
    stack = head if logical_id in head.resources else base
    return f"{stack.display(logical_id)} ({stack.type_of(logical_id).removeprefix('AWS::')})"


def _empty(stack: Stack) -> Stack:
    return Stack(name=stack.name, template={}, region=stack.region, account=stack.account)
