"""Import moto's CloudFormation without the services that it imports only to know their resource models.

moto's `cloudformation.parsing` imports thirty services, because it finds their models as subclasses. This package has
its own handlers in `resources`. EC2 alone, whose tables of instance types and zones are computed at import, takes half
of the server's start, so that it and the services that import it are loaded when something first uses them.
"""

import functools
import importlib
import operator
import sys
from types import ModuleType
from typing import Any

# EC2, what imports it, and API Gateway with its OpenAPI validator; with the submodules that moto imports by name.
DEFERRED = (
    *("moto.apigateway", "moto.apigateway.models"),
    *("moto.autoscaling", "moto.autoscaling.models"),
    *("moto.batch", "moto.batch.models"),
    *("moto.ec2", "moto.ec2.models", "moto.ec2.models.core"),
    *("moto.ecs", "moto.ecs.models"),
    *("moto.efs", "moto.efs.models"),
    *("moto.elb", "moto.elb.models"),
    *("moto.elbv2", "moto.elbv2.models"),
    *("moto.emr", "moto.emr.models"),
    *("moto.rds", "moto.rds.models"),
    *("moto.redshift", "moto.redshift.models"),
)


def import_cloudformation() -> None:
    """Import moto's CloudFormation; call before anything else does, which the rest then finds imported."""
    deferred = [name for name in DEFERRED if name not in sys.modules]
    sys.modules.update({name: _DeferredModule(name) for name in deferred})
    try:
        importlib.import_module("moto.cloudformation.parsing")
        importlib.import_module("moto.applicationautoscaling.models")  # it asks ECS whether a service exists
    finally:
        for name in deferred:  # from now on, an import is a real one
            del sys.modules[name]


class _DeferredModule(ModuleType):
    """A module whose every attribute is loaded on first use."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _DeferredAttribute(self.__name__, name)


class _DeferredAttribute:
    """What `from module import name` gave to the importer: a module, a class or moto's backends, or an item of them.

    Application Auto Scaling keeps ECS's backend, an item of `ecs_backends`, and asks it for ECS services only.
    """

    def __init__(self, module: str, name: str, *keys: Any) -> None:
        self._origin = module, name
        self._keys = keys

    def _load(self) -> Any:
        module, name = self._origin
        return functools.reduce(operator.getitem, self._keys, getattr(importlib.import_module(module), name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)

    def __getitem__(self, key: Any) -> Any:
        return _DeferredAttribute(*self._origin, *self._keys, key)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._load())
