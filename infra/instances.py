"""The GPU instance types that the stack knows: what fits on their GPU, and what they cost."""

import re

from infra.data import table
from infra.errors import ConfigError, did_you_mean

_REST = r"\d[a-z]*\.\d*x?large"  # what follows the family's letter in `ml.g5.2xlarge`


def known_instance_types() -> list[str]:
    """Instance types with a GPU, a known memory and a known price."""
    return list(table("instances")["types"])


def check_instance_type(field: str, instance_type: str) -> None:
    """ConfigError unless `instance_type` has a GPU whose memory and price are in the tables."""
    known = known_instance_types()
    if instance_type in known:
        return
    allowed = f"{field} must be one of {', '.join(known)}, got {instance_type}"
    if re.fullmatch(rf"ml\.[cmrt]{_REST}", instance_type):
        raise ConfigError(f"{allowed}: it has no GPU, and the container image is for GPUs")
    if re.fullmatch(rf"ml\.[gp]{_REST}", instance_type):
        raise ConfigError(f"{allowed}: add its GPU memory to infra/instances.json and its price to infra/prices.json")
    raise ConfigError(f"{allowed}{did_you_mean(instance_type, known)}")


def gpu_memory_bytes(instance_type: str) -> int:
    """Memory of one GPU of the instance: the engine uses one."""
    return round(table("instances")["types"][instance_type]["gpu_memory_gb"] * 1e9)


def usd_per_hour(instance_type: str) -> float:
    """On-demand price of one instance in the table's region."""
    return table("prices")["usd_per_hour"][instance_type]
