"""A synthesised template, read without AWS."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from local_aws.autoscaling.definitions import Described

_PSEUDO = {"AWS::Region": "us-east-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws"}
_NAMED_BY = {"AWS::SageMaker::Endpoint": "EndpointName", "AWS::CloudWatch::Alarm": "AlarmName"}


class Template:
    """A CloudFormation template whose references are resolved as far as they can be compared.

    A reference to a resource becomes a text that no other resource shares; a name that the template gives becomes that
    name. ValueError where there is no resource of that id.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._resources: Mapping[str, Mapping[str, Any]] = body["Resources"]
        self._parameters: Mapping[str, Mapping[str, Any]] = body.get("Parameters") or {}

    def of_type(self, kind: str) -> Iterator[tuple[str, Described]]:
        """Logical id and resolved properties of each resource of a type, in the template's order."""
        for logical_id, resource in self._resources.items():
            if resource["Type"] == kind:
                yield logical_id, self.resolve(resource.get("Properties") or {})

    def depends_on(self, logical_id: str) -> set[str]:
        """The resources that this one is made after: by DependsOn or by a reference, directly or through others."""
        found: set[str] = set()
        left = [logical_id]
        while left:
            for needed in self._needed(left.pop()) - found:
                found.add(needed)
                left.append(needed)
        return found

    def resolve(self, value: Any) -> Any:
        """`value` with its intrinsic functions replaced."""
        if isinstance(value, list):
            return [self.resolve(item) for item in cast(list[Any], value)]
        if not isinstance(value, dict):
            return value
        mapping = cast(dict[str, Any], value)
        if len(mapping) == 1:
            [(function, argument)] = mapping.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function, argument)
        return {name: self.resolve(item) for name, item in mapping.items()}

    def _call(self, function: str, argument: Any) -> Any:
        match function, argument:
            case "Ref", str(name):
                return self._ref(name)
            case "Fn::GetAtt", [str(name), str(attribute)]:
                return self._attribute(name, attribute)
            case "Fn::Join", [str(separator), [*parts]]:
                return separator.join(str(self.resolve(part)) for part in parts)
            case _:
                return f"<{function} {argument}>"  # nothing that scaling compares

    def _ref(self, name: str) -> Any:
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in self._parameters:
            return self._parameters[name].get("Default", f"<parameter {name}>")
        self._resource(name)
        return f"<{name}>"

    def _attribute(self, name: str, attribute: str) -> Any:
        resource = self._resource(name)
        if attribute == _NAMED_BY.get(resource["Type"]):
            properties: Described = resource.get("Properties") or {}
            return self.resolve(properties.get(attribute, f"<{name}.{attribute}>"))
        return f"<{name}.{attribute}>"

    def _resource(self, name: str) -> Mapping[str, Any]:
        if name not in self._resources:
            raise ValueError(f"a reference must name a resource or parameter of the template, got {name}")
        return self._resources[name]

    def _needed(self, logical_id: str) -> set[str]:
        resource = self._resources[logical_id]
        explicit: str | list[str] = resource.get("DependsOn") or []
        names = {explicit} if isinstance(explicit, str) else set(explicit)
        return (names | set(_references(resource.get("Properties")))) & set(self._resources)


def _references(value: Any) -> Iterator[str]:
    match value:
        case [*items]:
            for item in items:
                yield from _references(item)
        case {"Ref": str(name)}:
            yield name
        case {"Fn::GetAtt": [str(name), *_]}:
            yield name
        case {**members}:
            yield from _references(list(cast(dict[str, Any], members).values()))
        case _:
            return
