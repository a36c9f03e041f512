# cfn-lint's schemas are untyped
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Changes generated from CloudFormation's resource schemas, as shipped with cfn-lint."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

Schema = dict[str, Any]
DEPTH = 6


def properties_of(type_name: str) -> dict[str, Schema]:
    """Return the schemas of a type's writable properties by name, each with all definitions."""
    schema = cast(Schema, PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", type_name).schema)
    read_only = {path.removeprefix("/properties/") for path in schema.get("readOnlyProperties", [])}
    definitions = schema.get("definitions", {})
    return {
        name: {**part, "definitions": definitions}
        for name, part in schema["properties"].items()
        if name not in read_only
    }


def sample(schema: Schema, definitions: Schema, depth: int = DEPTH) -> Any:
    """Return a value that fits the schema, with every optional part down to `depth`. Booleans are true."""
    schema = _resolved(schema, definitions)
    if "enum" in schema:
        return "Enabled" if "Enabled" in schema["enum"] else schema["enum"][-1]
    kind = _kind(schema)
    if kind == "object":
        parts = schema.get("properties", {}) if depth else {}
        return {name: sample(part, definitions, depth - 1) for name, part in parts.items()} or {"Key": "value"}
    if kind == "array":
        return [sample(schema.get("items", {}), definitions, depth - 1)]
    return {"boolean": True, "integer": 50, "number": 50, "string": "something"}[kind]


@dataclass(frozen=True)
class Weakening:
    """A value, and the same with one part removed, switched off or smaller."""

    where: str
    old: Any
    new: Any


def weakenings(value: Any, where: str = "") -> Iterator[Weakening]:
    """Yield every single weakening inside a value."""
    if isinstance(value, bool):
        yield Weakening(where, value, not value)
    elif isinstance(value, int):
        yield Weakening(where, value, value - 1)
    elif isinstance(value, dict):
        yield from _in_object(cast(dict[str, Any], value), where)
    elif isinstance(value, list):
        for item in weakenings(value[0], f"{where}.0"):
            yield Weakening(item.where, [item.old], [item.new])


def _in_object(value: dict[str, Any], where: str) -> Iterator[Weakening]:
    for name, part in value.items():
        rest = {key: item for key, item in value.items() if key != name}
        if rest:
            yield Weakening(f"{where}.{name}", value, rest)
        for item in weakenings(part, f"{where}.{name}"):
            yield Weakening(item.where, {**rest, name: item.old}, {**rest, name: item.new})


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    while True:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        elif "type" not in schema and "properties" not in schema and (schema.get("oneOf") or schema.get("anyOf")):
            schema = (schema.get("oneOf") or schema["anyOf"])[0]
        else:
            return schema


def _kind(schema: Schema) -> str:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return str(kind[0] if isinstance(kind, list) else kind)
