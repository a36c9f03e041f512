"""Rules between the settings of a production variant; the limits of each are in `request_limits`."""

import re
from collections.abc import Mapping
from typing import Any

_GPU_FAMILY = re.compile(r"ml\.[gp]\d")
_NEURON_FAMILY = re.compile(r"ml\.(inf|trn)\d")


def check_variant(variant: Mapping[str, Any]) -> None:
    """Raise ValueError, with SageMaker's words where they are known, for a combination that the API refuses."""
    if "InstancePools" in variant:
        _check_pools(variant)
    elif "InstanceType" not in variant:
        raise ValueError(
            f"ProductionVariant must have InstanceType or InstancePools, got {sorted(variant)}: "
            "the embedded AWS has no serverless endpoints"
        )
    _check_ami(variant)


def _check_pools(variant: Mapping[str, Any]) -> None:
    if "InstanceType" in variant:
        raise ValueError("InstanceType and InstancePools must not both be given")
    pools = variant["InstancePools"]
    priorities = [pool.get("Priority") for pool in pools]
    if len(set(priorities)) != len(pools):
        raise ValueError(f"InstancePools must have different priorities, got {priorities}")


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
