"""The resource types that the embedded CloudFormation deploys, one module per AWS service.

To add a type, write a `Handler` in its service's module; every module of this package is searched for handlers. Only
`cloudformation` imports this package.
"""

import importlib
import pkgutil

from local_aws.emulator.resources.base import Handler

_MODULES = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
_BY_TYPE: dict[str, Handler] = {
    name: value()
    for module in _MODULES
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Handler)
    for name in value.types
}


def find_handler(resource_type: str) -> Handler | None:
    """Return the handler of a resource type, or None if the embedded AWS does not support it."""
    return _BY_TYPE.get("Custom::*" if resource_type.startswith("Custom::") else resource_type)


def supported_types() -> list[str]:
    """Return all resource types that have a handler, sorted."""
    return sorted(_BY_TYPE)
