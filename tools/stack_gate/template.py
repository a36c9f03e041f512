"""A synthesised stack, as the gate reads it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

Json = Any
"""A value of a template: text, number, boolean, array or object."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One template with what the cloud assembly says of it. `region` and `account` are empty where it is silent."""

    name: str
    template: dict[str, Json]
    region: str = ""
    account: str = ""
    termination_protection: bool = False
    assets: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    @property
    def resources(self) -> dict[str, dict[str, Json]]:
        """Resources by logical id."""
        return self.template.get("Resources", {})

    def of_type(self, *types: str) -> Iterator[tuple[str, dict[str, Json]]]:
        """Logical id and properties of every resource of these types."""
        for logical_id, resource in self.resources.items():
            if resource.get("Type") in types:
                yield logical_id, resource.get("Properties", {})

    def properties(self, logical_id: str) -> dict[str, Json]:
        """A resource's properties; empty where there is no such resource."""
        return self.resources.get(logical_id, {}).get("Properties", {})

    def type_of(self, logical_id: str) -> str:
        """A resource's type; empty where there is no such resource."""
        return self.resources.get(logical_id, {}).get("Type", "")

    def display(self, logical_id: str) -> str:
        """The construct path below the stack, as people know the resource, or else the logical id."""
        path = self.resources.get(logical_id, {}).get("Metadata", {}).get("aws:cdk:path", "")
        below = path.split("/", 1)[-1].removesuffix("/Default").removesuffix("/Resource")
        return below or logical_id


def is_object(value: Json) -> TypeGuard[dict[str, Json]]:
    """A JSON object."""
    return isinstance(value, dict)


def is_list(value: Json) -> TypeGuard[list[Json]]:
    """A JSON array."""
    return isinstance(value, list)


def as_object(value: Json) -> dict[str, Json]:
    """The value where it is an object, else an empty one."""
    return value if is_object(value) else {}


def as_list(value: Json) -> list[Json]:
    """IAM and CloudFormation write a list of one as the item itself."""
    if value is None:
        return []
    return value if is_list(value) else [value]


def canonical(value: Json) -> str:
    """One text for one meaning: keys sorted, and numbers and booleans as CloudFormation compares them, as text."""
    return json.dumps(_as_text(value), sort_keys=True)


def _as_text(value: Json) -> Json:
    if is_object(value):
        return {str(key): _as_text(item) for key, item in value.items()}
    if is_list(value):
        return [_as_text(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value
