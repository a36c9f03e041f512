"""Read a template: parsing, references between resources, the order in which to deploy them."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (templates are JSON)

import json
import re
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import yaml
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.utils import yaml_tag_constructor

from local_aws.emulator.resources import find_handler

Template = dict[str, Any]
# libyaml, if this machine's PyYAML has it, takes a tenth of the time.
_YamlLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SUBSTITUTION = re.compile(r"\$\{([^!}][^}]*)\}")


def parse_template(text: str) -> Template:
    """Parse a template's JSON or YAML, including the short forms of intrinsic functions."""
    if text.lstrip().startswith("{"):
        return json.loads(text)
    yaml.add_multi_constructor("", yaml_tag_constructor, Loader=_YamlLoader)
    return yaml.load(text, Loader=_YamlLoader)


def references(value: Any) -> Iterator[str]:
    """Yield every name that `Ref`, `Fn::GetAtt` or `Fn::Sub` mentions in `value`, including pseudo parameters."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _FUNCTIONS.get(key, references)(item)


def _get_att(value: Any) -> Iterator[str]:
    yield value[0] if isinstance(value, list) else str(value).partition(".")[0]


def _sub(value: Any) -> Iterator[str]:
    text, variables = (value[0], value[1]) if isinstance(value, list) else (value, {})
    names = (name.strip().partition(".")[0] for name in _SUBSTITUTION.findall(text))
    yield from (name for name in names if name not in variables)
    yield from references(variables)


_FUNCTIONS: dict[str, Callable[[Any], Iterator[str]]] = {
    "Ref": lambda name: iter([str(name)]),
    "Fn::GetAtt": _get_att,
    "Fn::Sub": _sub,
}


def attribute_owners(value: Any) -> Iterator[str]:
    """Yield the logical id of each resource whose attributes `Fn::GetAtt` or `Fn::Sub` reads in `value`."""
    if isinstance(value, list):
        for item in value:
            yield from attribute_owners(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key == "Fn::GetAtt":
                yield from _get_att(item)
            elif key == "Fn::Sub":
                text = item[0] if isinstance(item, list) else item
                yield from (name.partition(".")[0] for name in _SUBSTITUTION.findall(text) if "." in name)
                yield from attribute_owners(item[1:] if isinstance(item, list) else [])
            else:
                yield from attribute_owners(item)


def dependencies(definition: Mapping[str, Any]) -> set[str]:
    """Return the names that one resource's definition depends on."""
    explicit = definition.get("DependsOn", [])
    return {*([explicit] if isinstance(explicit, str) else explicit), *references(definition.get("Properties", {}))}


def dependency_order(template: Template) -> list[str]:
    """Return the logical ids, each after its dependencies; raise ValidationError for a cycle."""
    resources: dict[str, Any] = template.get("Resources", {})
    graph = {name: dependencies(definition) & set(resources) for name, definition in resources.items()}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        names = ", ".join(error.args[1])
        raise ValidationError(message=f"Circular dependency between resources: [{names}]") from error


def unsupported_types(template: Template, is_enabled: Callable[[Mapping[str, Any]], bool]) -> list[str]:
    """Return the types of the enabled resources that the embedded AWS does not support, sorted."""
    types = {str(item["Type"]) for item in template.get("Resources", {}).values() if is_enabled(item)}
    return sorted(name for name in types if find_handler(name) is None)
