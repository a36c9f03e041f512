"""What CreateEndpointConfig accepts of a production variant: the SDK's own limits, and rules between settings."""

import functools
import re
from collections.abc import Mapping
from typing import Any

from botocore.loaders import Loader

_MAX_POOLS = 5
_GPU_FAMILY = re.compile(r"ml\.[gp]\d")
_NEURON_FAMILY = re.compile(r"ml\.(inf|trn)\d")


def check_variant(variant: Mapping[str, Any]) -> None:
    """Raise ValueError, with SageMaker's words where they are known, for a setting that the API refuses.

    The permitted values and ranges of every setting are those of the SDK's service model.
    """
    _check_members(variant, "ProductionVariant", "productionVariants.1.member")
    if "InstancePools" in variant:
        _check_pools(variant)
    elif "InstanceType" not in variant:
        raise ValueError(
            f"ProductionVariant must have InstanceType or InstancePools, got {sorted(variant)}: "
            "the embedded AWS has no serverless endpoints"
        )
    _check_ami(variant)


def _check_members(settings: Mapping[str, Any], shape: str, path: str) -> None:
    members = _shapes()[shape]["members"]
    for name, value in settings.items():
        if name in members:
            limits = _shapes()[members[name]["shape"]]
            _check_limits(value, limits, f"{path}.{name[0].lower()}{name[1:]}")


def _check_limits(value: Any, limits: Mapping[str, Any], path: str) -> None:
    if "enum" in limits and value not in limits["enum"]:
        rule = f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]"
    elif limits["type"] == "integer" and value < limits.get("min", value):
        rule = f"Member must have value greater than or equal to {limits['min']}"
    elif limits["type"] == "integer" and value > limits.get("max", value):
        rule = f"Member must have value less than or equal to {limits['max']}"
    else:
        return
    raise ValueError(f"1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: {rule}")


def _check_pools(variant: Mapping[str, Any]) -> None:
    if "InstanceType" in variant:
        raise ValueError("InstanceType and InstancePools must not both be given")
    pools = variant["InstancePools"]
    priorities = [pool.get("Priority") for pool in pools]
    if not 1 <= len(pools) <= _MAX_POOLS or len(set(priorities)) != len(pools):
        raise ValueError(f"InstancePools must be 1 to {_MAX_POOLS} pools of different priority, got {priorities}")
    for number, pool in enumerate(pools, start=1):
        _check_members(pool, "InstancePool", f"productionVariants.1.member.instancePools.{number}.member")


def _check_ami(variant: Mapping[str, Any]) -> None:
    """Refuse a machine image for another kind of processor; SageMaker's own message is not documented."""
    image = variant.get("InferenceAmiVersion")
    if image is None:
        return
    family, kind = (_NEURON_FAMILY, "Inferentia or Trainium") if "-neuron-" in image else (_GPU_FAMILY, "NVIDIA GPU")
    types = [pool["InstanceType"] for pool in variant.get("InstancePools", [variant])]
    if unsuitable := [instance_type for instance_type in types if not family.match(instance_type)]:
        raise ValueError(
            f"InferenceAmiVersion {image} is for instance types with {kind}, got {', '.join(unsuitable)}: "
            "leave it out, or choose another instance type"
        )


@functools.cache
def _shapes() -> Mapping[str, Any]:
    model: Any = Loader().load_service_model("sagemaker", "service-2")
    return model["shapes"]
