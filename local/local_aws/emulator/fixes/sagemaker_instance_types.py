"""SageMaker's endpoint instance types: moto's list ends before g5 and g6, and it knows no pools of types."""

from __future__ import annotations

from typing import Any

from botocore.loaders import Loader
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeEndpointConfig

_MOST_POOLS = 5


def install() -> None:
    """Check against the instance types of the SDK's own service model instead, in pools too."""
    known = endpoint_instance_types()

    def validate(self: Any, instance_type: str) -> None:
        if instance_type not in known:
            raise ValidationError(
                message=f"Value '{instance_type}' at 'instanceType' failed to satisfy constraint: Member must satisfy "
                "enum value set of ProductionVariantInstanceType"
            )

    endpoint_config: Any = FakeEndpointConfig
    endpoint_config.validate_instance_type = validate
    validate_variants = endpoint_config.validate_production_variants

    def validate_production_variants(self: Any, production_variants: list[dict[str, Any]]) -> None:
        pooled = [variant for variant in production_variants if "InstancePools" in variant]
        for variant in pooled:
            _check_pools(variant)
            for pool in variant["InstancePools"]:
                validate(self, pool["InstanceType"])
        validate_variants(self, [variant for variant in production_variants if variant not in pooled])

    endpoint_config.validate_production_variants = validate_production_variants


def _check_pools(variant: dict[str, Any]) -> None:
    pools = variant["InstancePools"]
    priorities = [pool.get("Priority") for pool in pools]
    if "InstanceType" in variant:
        raise ValidationError(message="InstanceType and InstancePools must not both be given")
    if not 1 <= len(pools) <= _MOST_POOLS or len(set(priorities)) != len(pools):
        raise ValidationError(
            message=f"InstancePools must be 1 to {_MOST_POOLS} pools of different priority, got {priorities}"
        )


def endpoint_instance_types() -> frozenset[str]:
    """Every instance type that SageMaker's API names for production variants."""
    model: Any = Loader().load_service_model("sagemaker", "service-2")
    return frozenset(model["shapes"]["ProductionVariantInstanceType"]["enum"])
