"""Fit CloudFormation's properties to an API call: types from botocore's own service model, unknown members refused."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (properties are JSON)

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from local_aws.emulator.resources.base import Context, ResourceFailedError

_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
}


def call(context: Context, service: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Call `operation` (its API name) with `parameters` fitted to its input; the answer as a dictionary."""
    client = context.client(service)
    shape = client.meta.service_model.operation_model(operation).input_shape
    method = next(python for python, api in client.meta.method_to_api_mapping.items() if api == operation)
    return getattr(client, method)(**fit(shape, dict(parameters), operation))


def fit(shape: Any, value: Any, path: str) -> Any:
    """`value` with its scalars turned into the types of `shape`.

    Templates write numbers and booleans as text where a parameter or `Fn::If` gave them.
    """
    if shape.type_name == "structure":
        return _fit_structure(shape, value, path)
    if shape.type_name == "list":
        return [fit(shape.member, item, f"{path}[{index}]") for index, item in enumerate(value)]
    if shape.type_name == "map":
        return {str(key): fit(shape.value, item, f"{path}.{key}") for key, item in value.items()}
    return _fit_scalar(shape.type_name, value)


def _fit_structure(shape: Any, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ResourceFailedError(f"{path} must be an object, got {value!r}")
    unknown = sorted(set(value) - set(shape.members))
    if unknown:
        raise ResourceFailedError(f"{path} must have members among {sorted(shape.members)}, got {', '.join(unknown)}")
    return {name: fit(shape.members[name], item, f"{path}.{name}") for name, item in value.items()}


def _fit_scalar(type_name: str, value: Any) -> Any:
    if type_name == "boolean":
        return value if isinstance(value, bool) else str(value).lower() == "true"
    if type_name in _NUMBERS:
        return _NUMBERS[type_name](value)
    if type_name == "string" and not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value
