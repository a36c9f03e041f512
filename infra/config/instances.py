"""The supported GPU instance types, with the memory of their GPU and their price."""

import json
import re
from pathlib import Path
from typing import Any

from infra.config.fields import ConfigError, did_you_mean

INSTANCE_TYPES: dict[str, Any] = json.loads(Path(__file__).with_name("instances.json").read_text(encoding="utf-8"))[
    "types"
]
PRICES: dict[str, Any] = json.loads(Path(__file__).with_name("prices.json").read_text(encoding="utf-8"))

_REST = r"\d[a-z]*\.\d*x?large"  # what follows the family's letter in `ml.g5.2xlarge`


def check_instance_type(field: str, instance_type: str) -> None:
    """Raise ConfigError unless the tables have the GPU memory and the price of `instance_type`."""
    if instance_type in INSTANCE_TYPES:
        return
    allowed = f"{field} must be one of {', '.join(INSTANCE_TYPES)}, got {instance_type}"
    if re.fullmatch(rf"ml\.[cmrt]{_REST}", instance_type):
        raise ConfigError(f"{allowed}: it has no GPU, and the container image is for GPUs")
    if re.fullmatch(rf"ml\.[gp]{_REST}", instance_type):
        tables = "infra/config/instances.json", "infra/config/prices.json"
        raise ConfigError(f"{allowed}: add its GPU memory to {tables[0]} and its price to {tables[1]}")
    raise ConfigError(f"{allowed}{did_you_mean(instance_type, INSTANCE_TYPES)}")


def gpu_memory_bytes(instance_type: str) -> int:
    """Return the memory of one GPU of the instance; the engine uses one."""
    return round(INSTANCE_TYPES[instance_type]["gpu_memory_gb"] * 1e9)


def usd_per_hour(instance_type: str) -> float:
    """Return the on-demand price of one instance in the table's region."""
    return PRICES["usd_per_hour"][instance_type]
