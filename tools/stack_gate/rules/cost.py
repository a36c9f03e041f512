"""What a stack's endpoints cost per hour, idle and at their peak, and changes that raise it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stack_gate.diff.stacks import StackDiff
from stack_gate.findings import Finding
from stack_gate.rules.tables import stack_finding
from stack_gate.template import Json, Resolver, Stack, as_list, as_object, is_object, referenced_id

Prices = Mapping[str, float]
UNBOUNDED = 10**6  # a capacity that is known only at deploy time


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A production variant: its possible instance types, and its instance counts at deployment, idle and peak."""

    endpoint: str
    name: str
    instance_types: tuple[str, ...]
    initial: int
    idle: int
    peak: int
    scaled: bool

    def highest_price(self, prices: Prices) -> float:
        return max((prices[name] for name in self.instance_types if name in prices), default=0.0)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """USD per hour for instances. `unpriced` are instance types without a price."""

    idle: float
    peak: float
    unpriced: tuple[str, ...] = ()


def hourly_cost(stack: Stack, prices: Prices) -> Cost:
    """Return the cost of a stack's endpoints, each variant at its most expensive instance type."""
    variants = endpoint_variants(stack)
    return Cost(
        idle=sum(variant.idle * variant.highest_price(prices) for variant in variants),
        peak=sum(variant.peak * variant.highest_price(prices) for variant in variants),
        unpriced=tuple(sorted({name for item in variants for name in item.instance_types if name not in prices})),
    )


def find_higher_costs(diff: StackDiff, price_tables: Sequence[Prices]) -> Iterator[Finding]:
    """Find higher costs by base's or head's price table, since a change may edit the prices too."""
    base, head = diff.base, diff.head
    for prices in price_tables:
        before, after = hourly_cost(base, prices), hourly_cost(head, prices)
        for old, new, when in ((before.idle, after.idle, "when idle"), (before.peak, after.peak, "at its peak")):
            if new > old + 1e-9:
                yield stack_finding("cost", what=f"the stack costs ${old:.3f}/h → ${new:.3f}/h {when}")
    known = {name for variant in endpoint_variants(base) for name in variant.instance_types}
    for variant in endpoint_variants(head):
        shown = head.display(variant.endpoint)
        for name in variant.instance_types:
            if name not in known and not all(name in prices for prices in price_tables):
                yield stack_finding("unpriced", resource=shown, what=f"runs on {name}")
        if not variant.instance_types and known:
            yield stack_finding("unpriced", resource=shown, what="a variant without an instance type")
        if UNBOUNDED in (variant.initial, variant.idle, variant.peak):
            yield stack_finding("unpriced", resource=shown, what="a number of instances known only at deploy time")


def endpoint_variants(stack: Stack) -> list[Variant]:
    """Return every production and shadow variant of the stack's endpoints."""
    resolver = Resolver(stack, by_name=True)
    found: list[Variant] = []
    for endpoint, properties in stack.of_type("AWS::SageMaker::Endpoint"):
        name = resolver.text(properties.get("EndpointName", {"Ref": endpoint}))
        config = stack.properties(referenced_id(properties.get("EndpointConfigName")))
        for key in ("ProductionVariants", "ShadowProductionVariants"):
            for variant in map(as_object, as_list(config.get(key))):
                found.append(_variant(stack, resolver, endpoint, name, variant))
    return found


def _variant(stack: Stack, resolver: Resolver, endpoint: str, endpoint_name: str, variant: dict[str, Any]) -> Variant:
    name = resolver.text(variant.get("VariantName", ""))
    resource_id = f"endpoint/{endpoint_name}/variant/{name}"
    targets = {
        logical_id: properties
        for logical_id, properties in stack.of_type("AWS::ApplicationAutoScaling::ScalableTarget")
        if resolver.text(properties.get("ResourceId")) == resource_id
    }
    initial = _count(variant.get("InitialInstanceCount", 1))
    minimum = max((_capacity(target, "MinCapacity") for target in targets.values()), default=initial)
    scales_in = any(_scales_in(stack, resolver, target) for target in targets)
    pools = [pool.get("InstanceType") for pool in as_list(variant.get("InstancePools")) if is_object(pool)]
    types = [*([variant["InstanceType"]] if "InstanceType" in variant else []), *pools]
    return Variant(
        endpoint=endpoint,
        name=name,
        instance_types=tuple(sorted({resolver.text(value) for value in types})),
        initial=initial,
        idle=minimum if scales_in else max(minimum, initial),
        peak=max([initial, *(_capacity(target, "MaxCapacity") for target in targets.values())]),
        scaled=bool(targets),
    )


def _capacity(target: dict[str, Any], name: str) -> int:
    """Return the highest MinCapacity or MaxCapacity of a scalable target and its scheduled actions."""
    scheduled = [action for action in as_list(target.get("ScheduledActions")) if is_object(action)]
    actions = [as_object(action.get("ScalableTargetAction")) for action in scheduled]
    return max(_count(action.get(name, 0)) for action in (target, *actions))


def _count(value: Json) -> int:
    return int(value) if str(value).isdigit() else UNBOUNDED


def _scales_in(stack: Stack, resolver: Resolver, target: str) -> bool:
    """Return whether a target-tracking policy or a negative step removes instances."""
    properties = stack.properties(target)
    suspended = as_object(properties.get("SuspendedState"))
    if str(suspended.get("DynamicScalingInSuspended", False)).lower() != "false":
        return False
    resource_id = resolver.text(properties.get("ResourceId"))
    for _, policy in stack.of_type("AWS::ApplicationAutoScaling::ScalingPolicy"):
        same_resource = "ResourceId" in policy and resolver.text(policy["ResourceId"]) == resource_id
        if same_resource or policy.get("ScalingTargetId") == {"Ref": target}:
            tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
            steps = as_list(as_object(policy.get("StepScalingPolicyConfiguration")).get("StepAdjustments"))
            if tracking is not None:
                removes = str(as_object(tracking).get("DisableScaleIn", False)).lower() == "false"
            else:
                removes = any(str(as_object(step).get("ScalingAdjustment", "")).startswith("-") for step in steps)
            if removes:
                return True
    return False
