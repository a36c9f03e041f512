"""The supported instance types, with and without a GPU: memory, GPU driver, nominal memory bandwidth and price."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.config.setting_rules import ConfigError, did_you_mean

_TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("instances.json").read_text(encoding="utf-8"))
INSTANCE_TYPES: dict[str, Any] = _TABLE["types"]
GPU_FAMILIES: dict[str, Any] = _TABLE["gpu_families"]  # the GPU driver of each family, such as g5
CPU_FAMILIES: dict[str, Any] = _TABLE["cpu_families"]  # the memory bandwidth of each family without a GPU
GPUS: dict[str, Any] = _TABLE["gpus"]  # the memory bandwidth of each GPU
SHARE_OF_BANDWIDTH: float = _TABLE["share_of_bandwidth"]  # that a decode step is assumed to reach
PRICES: dict[str, Any] = json.loads(Path(__file__).with_name("prices.json").read_text(encoding="utf-8"))

_REST = r"\d[a-z]*\.\d*x?large"  # what follows the family's letter in `ml.g5.2xlarge`


def check_instance_type(field: str, instance_type: str) -> None:
    """Raise ConfigError unless the tables have what the stack needs to know about `instance_type`."""
    family = _family(instance_type)
    driver = (
        f"InferenceAmiVersion of the family {family} to `gpu_families` of infra/config/instances.json (one with driver "
        f"550 or newer, as the container image has CUDA 12.4), with its source"
    )
    if instance_type in INSTANCE_TYPES:
        if has_gpu(instance_type) and family not in GPU_FAMILIES:
            raise ConfigError(
                f"{field} must be of a family whose GPU driver is known, {', '.join(GPU_FAMILIES)}, "
                f"got {instance_type}: add the {driver}"
            )
        return
    allowed = f"{field} must be one of {', '.join(INSTANCE_TYPES)}, got {instance_type}"
    if re.fullmatch(r"ml\.[a-z]+\d[a-z]*g[a-z]*\.\w+", instance_type):
        raise ConfigError(f"{allowed}: it has an ARM processor, and the container images are for x86-64")
    if re.fullmatch(rf"ml\.[cmrt]{_REST}", instance_type):
        missing = "" if family in CPU_FAMILIES else f", and the memory bandwidth of the family {family}"
        raise ConfigError(
            f"{allowed}: add its vCPUs and memory{missing} to infra/config/instances.json and its price to "
            f"infra/config/prices.json"
        )
    if re.fullmatch(rf"ml\.[gp]{_REST}", instance_type):
        missing = "" if family in GPU_FAMILIES else f", and the {driver}"
        raise ConfigError(
            f"{allowed}: add its GPU, with memory and bandwidth, to infra/config/instances.json and its price to "
            f"infra/config/prices.json{missing}"
        )
    raise ConfigError(f"{allowed}{did_you_mean(instance_type, INSTANCE_TYPES)}")


def check_pool(instance_types: Sequence[str]) -> None:
    """Raise ConfigError unless one variant can have all `instance_types`: one image, and one host image."""
    if len({has_gpu(name) for name in instance_types}) > 1:
        raise ConfigError(
            "fallback_instance_types must all have a GPU if instance_type has one, and none if it has none, as there "
            f"is one container image, got {', '.join(instance_types)}"
        )
    inference_ami_version(instance_types)


def has_gpu(instance_type: str) -> bool:
    """Return whether the container runs on a GPU of the instance, or on its CPU."""
    return "gpu" in INSTANCE_TYPES[instance_type]


def inference_ami_version(instance_types: Sequence[str]) -> str | None:
    """Return the host image, and with it the GPU driver, that fits the container's CUDA; None for types without a GPU.

    Without it SageMaker starts some families with a driver that is too old. A variant has one: ConfigError if the types
    need different ones.
    """
    if not has_gpu(instance_types[0]):
        return None
    versions = {name: GPU_FAMILIES[_family(name)]["inference_ami_version"] for name in instance_types}
    if len(set(versions.values())) > 1:
        needed = ", ".join(f"{name} needs {version}" for name, version in versions.items())
        raise ConfigError(
            f"fallback_instance_types must need the same InferenceAmiVersion as instance_type, as an endpoint's "
            f"variant has one, got {needed}"
        )
    return versions[instance_types[0]]


def memory_bytes(instance_type: str) -> int:
    """Return the memory that the decoder uses: that of one GPU, as the engine uses one, or the main memory."""
    entry = INSTANCE_TYPES[instance_type]
    return round(entry["gpu_memory_gb"] * 1e9) if has_gpu(instance_type) else entry["memory_gib"] * 1024**3


def bytes_per_second(instance_type: str) -> float:
    """Return the bandwidth at which a decode step is assumed to read that memory: half of the nominal one."""
    entry = INSTANCE_TYPES[instance_type]
    if has_gpu(instance_type):
        nominal = GPUS[entry["gpu"]]["gb_per_second"]
    else:
        nominal = CPU_FAMILIES[_family(instance_type)]["gb_per_second_per_vcpu"] * entry["vcpus"]
    return nominal * 1e9 * SHARE_OF_BANDWIDTH


def usd_per_hour(instance_type: str, *, region: str) -> float | None:
    """Return the on-demand price of one instance; None in a region other than the table's."""
    return PRICES["usd_per_hour"][instance_type] if region == PRICES["region"] else None


def _family(instance_type: str) -> str:
    """Return `g5` of `ml.g5.2xlarge`."""
    return instance_type.removeprefix("ml.").partition(".")[0]
