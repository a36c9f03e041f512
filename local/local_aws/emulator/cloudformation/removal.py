"""Deleting several resources: dependents first, and what a survivor needs stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moto.cloudformation.models import Stack

from local_aws.emulator.cloudformation import steps
from local_aws.emulator.cloudformation.deployed import Deployed
from local_aws.emulator.cloudformation.steps import deployed_of
from local_aws.emulator.cloudformation.template import Template, dependencies


def remove_all(
    stack: Stack, resources: Iterable[Deployed], template: Template, policy: Callable[[Deployed], str]
) -> list[str]:
    """Delete `resources`, which come dependents first, as `policy` says of each; return what could not be deleted.

    What a survivor depends on in `template` is left alone with it, and both stay in the stack.
    """
    deployed, blocked, survivors = deployed_of(stack).deployed, set[str](), list[str]()
    for resource in resources:
        name = resource.logical_id
        if name not in blocked and steps.delete(stack, resource, policy(resource)):
            deployed.pop(name, None)
        else:
            deployed[name] = resource
            blocked |= dependencies(template["Resources"][name])
            survivors.append(name)
    return survivors


def when_deleted(resource: Deployed) -> str:
    """The deletion policy of a resource that goes because its stack or its definition goes."""
    return "Retain" if resource.deletion_policy == "RetainExceptOnCreate" else resource.deletion_policy


def when_rolled_back(resource: Deployed) -> str:
    """The deletion policy of a resource made by the very deployment that is being taken back."""
    return "Delete" if resource.deletion_policy == "RetainExceptOnCreate" else resource.deletion_policy
