"""SageMaker's endpoint instance types: moto's list ends before g5 and g6."""

from __future__ import annotations

from typing import Any

from botocore.loaders import Loader
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeEndpointConfig


def install() -> None:
    """Check against the instance types of the SDK's own service model instead."""
    known = endpoint_instance_types()

    def validate(self: Any, instance_type: str) -> None:
        if instance_type not in known:
            raise ValidationError(
                message=f"Value '{instance_type}' at 'instanceType' failed to satisfy constraint: Member must satisfy "
                "enum value set of ProductionVariantInstanceType"
            )

    endpoint_config: Any = FakeEndpointConfig
    endpoint_config.validate_instance_type = validate


def endpoint_instance_types() -> frozenset[str]:
    """Every instance type that SageMaker's API names for production variants."""
    model: Any = Loader().load_service_model("sagemaker", "service-2")
    return frozenset(model["shapes"]["ProductionVariantInstanceType"]["enum"])
