"""The scalable targets of an endpoint's variants, in moto's Application Auto Scaling."""

from typing import Any

from moto.applicationautoscaling.models import applicationautoscaling_backends

_NAMESPACE = "sagemaker"
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"


def is_registered(account: str, region: str, endpoint: str, variant: str) -> bool:
    """Return whether a variant is a scalable target."""
    backend: Any = applicationautoscaling_backends[account][region]
    resource = f"endpoint/{endpoint}/variant/{variant}"
    return bool(backend.describe_scalable_targets(_NAMESPACE, [resource], _DIMENSION))


def deregister_all(account: str, region: str, endpoint: str) -> None:
    """Deregister an endpoint's variants and delete their policies, as DeleteEndpoint does.

    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-delete-with-scaling.html
    """
    backend: Any = applicationautoscaling_backends[account][region]
    prefix = f"endpoint/{endpoint}/variant/"
    for target in backend.describe_scalable_targets(_NAMESPACE, None, _DIMENSION):
        if target.resource_id.startswith(prefix):
            for policy in list(backend.policies.values()):
                if policy.resource_id == target.resource_id:
                    backend.delete_scaling_policy(policy.policy_name, _NAMESPACE, target.resource_id, _DIMENSION)
            backend.deregister_scalable_target(_NAMESPACE, target.resource_id, _DIMENSION)
