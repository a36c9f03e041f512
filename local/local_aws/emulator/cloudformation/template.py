"""What a template says about the order of its resources."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (templates are JSON)

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from moto.cloudformation.exceptions import ValidationError

from local_aws.emulator.resources import find_handler

Template = dict[str, Any]
_SUBSTITUTION = re.compile(r"\$\{([^!}][^}]*)\}")


def references(value: Any) -> Iterator[str]:
    """Every name that `Ref`, `Fn::GetAtt` or `Fn::Sub` mentions inside `value`, pseudo parameters included."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _FUNCTIONS.get(key, references)(item)


def _attribute_owner(value: Any) -> Iterator[str]:
    yield value[0] if isinstance(value, list) else str(value).partition(".")[0]


def _substitutions(value: Any) -> Iterator[str]:
    text, given = (value[0], value[1]) if isinstance(value, list) else (value, {})
    names = (name.strip().partition(".")[0] for name in _SUBSTITUTION.findall(text))
    yield from (name for name in names if name not in given)
    yield from references(given)


_FUNCTIONS: dict[str, Callable[[Any], Iterator[str]]] = {
    "Ref": lambda name: iter([str(name)]),
    "Fn::GetAtt": _attribute_owner,
    "Fn::Sub": _substitutions,
}


def dependencies(definition: Mapping[str, Any]) -> set[str]:
    """The names that one resource's definition needs first."""
    explicit = definition.get("DependsOn", [])
    return {*([explicit] if isinstance(explicit, str) else explicit), *references(definition.get("Properties", {}))}


def dependency_order(template: Template) -> list[str]:
    """Logical ids such that each comes after all that it depends on; ValidationError for a circle."""
    resources: dict[str, Any] = template.get("Resources", {})
    graph = {name: dependencies(definition) & set(resources) for name, definition in resources.items()}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        names = ", ".join(error.args[1])
        raise ValidationError(message=f"Circular dependency between resources: [{names}]") from error


def require_known_types(template: Template, is_wanted: Callable[[Mapping[str, Any]], bool]) -> None:
    """Raise a ValidationError that names every wanted resource type that is not known here, as CloudFormation does."""
    types = {str(definition["Type"]) for definition in template.get("Resources", {}).values() if is_wanted(definition)}
    unknown = sorted(name for name in types if find_handler(name) is None)
    if unknown:
        raise ValidationError(message=f"Template format error: Unrecognized resource types: {unknown}".replace("'", ""))
