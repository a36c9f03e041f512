"""The instances that a template may run: type, least and most, for every variant of every endpoint."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stack_gate.intrinsics import Resolver
from stack_gate.template import Json, Stack, as_list, as_object, is_object

CONFIG = "AWS::SageMaker::EndpointConfig"
TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"
POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"
UNBOUNDED = 10**6  # a capacity that is known only at deploy time


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """One variant: the instance types that it may run on, and how many instances at rest, at deployment and at most."""

    endpoint: str
    variant: str
    instance_types: tuple[str, ...]
    initial: int
    idle: int
    peak: int
    scaled: bool


def fleets(stack: Stack) -> list[Fleet]:
    """Every variant of every endpoint of the stack, by the endpoint's logical id."""
    resolver = Resolver(stack, by_name=True)
    found: list[Fleet] = []
    for endpoint, properties in stack.of_type("AWS::SageMaker::Endpoint"):
        name = resolver.text(properties.get("EndpointName", {"Ref": endpoint}))
        for variant in _variants(stack, properties.get("EndpointConfigName")):
            found.append(_fleet(stack, resolver, endpoint, name, variant))
    return found


def _variants(stack: Stack, config: Json) -> Iterator[dict[str, Any]]:
    for key in ("Ref", "Fn::GetAtt"):
        if is_object(config) and key in config:
            logical_id = str(as_list(config[key])[0]).split(".")[0]
            properties = stack.properties(logical_id)
            yield from map(as_object, as_list(properties.get("ProductionVariants")))
            yield from map(as_object, as_list(properties.get("ShadowProductionVariants")))


def _fleet(stack: Stack, resolver: Resolver, endpoint: str, name: str, variant: dict[str, Any]) -> Fleet:
    variant_name = resolver.text(variant.get("VariantName", ""))
    initial = _count(variant.get("InitialInstanceCount", 1))
    targets = list(_targets(stack, resolver, f"endpoint/{name}/variant/{variant_name}"))
    least = max((_least(stack, resolver, target) for target in targets), default=initial)
    scales_in = any(_scales_in(stack, resolver, target) for target in targets)
    most = max([initial, *(_most(stack, target) for target in targets)])
    return Fleet(
        endpoint=endpoint,
        variant=variant_name,
        instance_types=_instance_types(variant, resolver),
        initial=initial,
        idle=least if scales_in else max(least, initial),
        peak=most,
        scaled=bool(targets),
    )


def _instance_types(variant: dict[str, Any], resolver: Resolver) -> tuple[str, ...]:
    pools = [pool.get("InstanceType") for pool in as_list(variant.get("InstancePools")) if is_object(pool)]
    named = [variant["InstanceType"]] if "InstanceType" in variant else []
    return tuple(sorted({resolver.text(value) for value in [*named, *pools]}))


def _targets(stack: Stack, resolver: Resolver, resource_id: str) -> Iterator[str]:
    for logical_id, properties in stack.of_type(TARGET):
        if resolver.text(properties.get("ResourceId")) == resource_id:
            yield logical_id


def _least(stack: Stack, resolver: Resolver, target: str) -> int:
    properties = stack.properties(target)
    return max(_count(properties.get("MinCapacity", 0)), *_scheduled(properties, "MinCapacity"))


def _most(stack: Stack, target: str) -> int:
    properties = stack.properties(target)
    return max(_count(properties.get("MaxCapacity", 0)), *_scheduled(properties, "MaxCapacity"))


def _scheduled(properties: dict[str, Any], name: str) -> list[int]:
    actions = [action for action in as_list(properties.get("ScheduledActions")) if is_object(action)]
    return [0, *(_count(as_object(action.get("ScalableTargetAction")).get(name, 0)) for action in actions)]


def _scales_in(stack: Stack, resolver: Resolver, target: str) -> bool:
    """Whether anything takes instances away: a target-tracking policy that may, or a step that goes down."""
    suspended = as_object(stack.properties(target).get("SuspendedState"))
    if str(suspended.get("DynamicScalingInSuspended", False)).lower() != "false":
        return False
    policies = [properties for _, properties in stack.of_type(POLICY) if _belongs(stack, resolver, properties, target)]
    return any(_takes_away(properties) for properties in policies)


def _belongs(stack: Stack, resolver: Resolver, policy: dict[str, Any], target: str) -> bool:
    if policy.get("ScalingTargetId") == {"Ref": target}:
        return True
    wanted = resolver.text(stack.properties(target).get("ResourceId"))
    return "ResourceId" in policy and resolver.text(policy["ResourceId"]) == wanted


def _takes_away(policy: dict[str, Any]) -> bool:
    tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
    if tracking is not None:
        return str(as_object(tracking).get("DisableScaleIn", False)).lower() == "false"
    steps = as_list(as_object(policy.get("StepScalingPolicyConfiguration")).get("StepAdjustments"))
    return any(str(as_object(step).get("ScalingAdjustment", "")).startswith("-") for step in steps)


def _count(value: Json) -> int:
    return int(value) if str(value).isdigit() else UNBOUNDED
