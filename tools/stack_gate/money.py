"""What the endpoints of a stack cost by the hour, idle and at their peak, and whether a change makes them dearer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stack_gate.findings import Finding
from stack_gate.fleets import UNBOUNDED, Fleet, fleets
from stack_gate.rules import stack_finding
from stack_gate.template import Stack

Prices = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """USD an hour for instances; `unpriced` are instance types without a price."""

    idle: float
    peak: float
    unpriced: tuple[str, ...] = ()

    def words(self) -> str:
        """Both figures."""
        note = f", without {', '.join(self.unpriced)}, which has no price" if self.unpriced else ""
        return f"${self.idle:.3f}/h idle, ${self.peak:.3f}/h at most{note}"


def cost(stack: Stack, prices: Prices) -> Cost:
    """What a stack's endpoints cost: the dearest type of each variant, at its least and at its most."""
    running = fleets(stack)
    return Cost(
        idle=sum(fleet.idle * _price(fleet, prices) for fleet in running),
        peak=sum(fleet.peak * _price(fleet, prices) for fleet in running),
        unpriced=tuple(sorted({name for fleet in running for name in fleet.instance_types if name not in prices})),
    )


def judge_money(base: Stack, head: Stack, tables: list[Prices]) -> list[Finding]:
    """Findings where the head costs more by base's or by head's price table: a change may edit the prices too."""
    dearer = [finding for prices in tables for finding in _dearer(cost(base, prices), cost(head, prices))]
    return [*_once(dearer), *_unpriced(base, head, tables), *_unbounded(head)]


def _dearer(before: Cost, after: Cost) -> Iterator[Finding]:
    for name in ("idle", "peak"):
        old, new = getattr(before, name), getattr(after, name)
        if new > old + 1e-9:
            words = "with nothing to do" if name == "idle" else "at its peak"
            what = f"the stack costs ${old:.3f}/h → ${new:.3f}/h {words}"
            yield stack_finding("cost", what=what)


def _once(found: list[Finding]) -> list[Finding]:
    return list(dict.fromkeys(found))


def _unpriced(base: Stack, head: Stack, tables: list[Prices]) -> Iterator[Finding]:
    before = {name for fleet in fleets(base) for name in fleet.instance_types}
    for fleet in fleets(head):
        for name in fleet.instance_types:
            if name not in before and not all(name in prices for prices in tables):
                yield stack_finding("unpriced", resource=head.display(fleet.endpoint), what=f"runs on {name}")
        if not fleet.instance_types and before:
            what = "a variant without an instance type"
            yield stack_finding("unpriced", resource=head.display(fleet.endpoint), what=what)


def _unbounded(head: Stack) -> Iterator[Finding]:
    for fleet in fleets(head):
        if UNBOUNDED in (fleet.initial, fleet.idle, fleet.peak):
            what = "a number of instances that is known only at deploy time"
            yield stack_finding("unpriced", resource=head.display(fleet.endpoint), what=what)


def _price(fleet: Fleet, prices: Prices) -> float:
    return max((prices[name] for name in fleet.instance_types if name in prices), default=0.0)
