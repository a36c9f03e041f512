"""The limits of SageMaker's API: every request is checked against the SDK's own service model, as AWS checks it.

The SDK checks types and minimums before it sends a request; lengths, patterns and sets of values are the service's.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (requests are JSON)

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from local_aws.emulator import clients


def check_request(operation: str, parameters: Mapping[str, Any]) -> None:
    """Raise ValueError, with AWS's words, if a call's parameters exceed the API's limits.

    `operation` is SageMaker's name, such as CreateEndpoint; `parameters` is the call's JSON.
    """
    shape = _model()["operations"][operation]["input"]["shape"]
    violations = list(_violations(parameters, shape, ""))
    if violations:
        count = f"{len(violations)} validation error{'s' if len(violations) > 1 else ''} detected"
        raise ValueError(f"{count}: {'; '.join(violations)}")


def _violations(value: Any, shape_name: str, path: str) -> Iterator[str]:
    shape = _model()["shapes"][shape_name]
    match shape["type"], value:
        case "structure", dict():
            yield from _member_violations(value, shape, path)
        case "list", list():
            yield from _outside(len(value), value, shape, path, "length")
            for number, item in enumerate(value, start=1):
                yield from _violations(item, shape["member"]["shape"], f"{path}.{number}.member")
        case "map", dict():
            yield from _outside(len(value), value, shape, path, "length")
            for key, item in value.items():
                yield from _violations(key, shape["key"]["shape"], f"{path}.key")
                yield from _violations(item, shape["value"]["shape"], f"{path}.{key}.member")
        case "string", str():
            yield from _text_violations(value, shape, path)
        case "integer" | "long" | "float" | "double", int() | float():
            yield from _outside(value, value, shape, path, "value")
        case _:  # nothing is documented of other types
            return


def _member_violations(value: Mapping[str, Any], shape: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in shape.get("required", []):
        if value.get(name) is None:
            yield _violation("null", _join(path, name), "Member must not be null")
    for name, member in shape["members"].items():
        if value.get(name) is not None:
            yield from _violations(value[name], member["shape"], _join(path, name))


def _text_violations(value: str, shape: Mapping[str, Any], path: str) -> Iterator[str]:
    if "enum" in shape and value not in shape["enum"]:
        yield _violation(value, path, f"Member must satisfy enum value set: [{', '.join(shape['enum'])}]")
    yield from _outside(len(value), value, shape, path, "length")
    pattern = shape.get("pattern", "")
    # Python knows no \p{...}, which the patterns of tags have.
    if pattern and r"\p{" not in pattern and not re.fullmatch(pattern, value, re.DOTALL):
        yield _violation(value, path, f"Member must satisfy regular expression pattern: {pattern}")


def _outside(size: float, value: Any, shape: Mapping[str, Any], path: str, quantity: str) -> Iterator[str]:
    if size < shape.get("min", size):
        yield _violation(value, path, f"Member must have {quantity} greater than or equal to {shape['min']}")
    if size > shape.get("max", size):
        yield _violation(value, path, f"Member must have {quantity} less than or equal to {shape['max']}")


def _violation(value: Any, path: str, rule: str) -> str:
    return f"Value '{value!s:.200}' at '{path}' failed to satisfy constraint: {rule}"


def _join(path: str, name: str) -> str:
    member = f"{name[0].lower()}{name[1:]}"
    return f"{path}.{member}" if path else member


@functools.cache
def _model() -> Mapping[str, Any]:
    return clients.service_models.load_service_model("sagemaker", "service-2")
