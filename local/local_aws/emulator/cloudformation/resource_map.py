"""A stack's deployed resources, as moto's intrinsic functions and APIs read them."""

# pyright: reportUnknownVariableType=false
# (moto keeps the parts of its resource map private; templates are JSON)

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.parsing import ResourceMap, clean_json


@dataclass(frozen=True)
class Deployed:
    """One deployed resource; `properties` are resolved, the policies are those of the template."""

    logical_id: str
    resource_type: str
    physical_id: str
    attributes: Mapping[str, Any]
    properties: Mapping[str, Any]
    deletion_policy: str = "Delete"
    update_replace_policy: str = "Delete"

    # The names that moto reads from its own resources.
    logical_resource_id = property(attrgetter("logical_id"))
    physical_resource_id = property(attrgetter("physical_id"))
    cf_resource_type = property(attrgetter("resource_type"))

    def get_cfn_attribute(self, name: str) -> Any:
        """Return the value of `Fn::GetAtt`; raise ValidationError if the resource has no such attribute."""
        if name not in self.attributes:
            raise ValidationError(
                message=f"Template error: resource {self.logical_id} does not support attribute type {name} in "
                "Fn::GetAtt"
            )
        return self.attributes[name]


class DeployedResources(ResourceMap):
    """moto's resource map without lazy creation: a lookup returns what was deployed and never creates anything."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.deployed: dict[str, Deployed] = {}

    def load(self) -> None:
        """Load mappings, parameters and conditions; moto would also check outputs against its own resource models."""
        self.load_mapping()
        self.load_parameters()
        self.load_conditions()

    def use(self, template: dict[str, Any], parameters: dict[str, Any]) -> None:
        """Resolve against `template` and `parameters` from now on."""
        self._template = template
        self._resource_json_map = template.get("Resources", {})
        for name in self.resolved_parameters:
            self._parsed_resources.pop(name, None)
        self.resolved_parameters = {}
        self.input_parameters = parameters
        self.load()

    def resolve(self, value: Any) -> Any:
        """Return `value` with every intrinsic function evaluated and `AWS::NoValue` removed."""
        return _without_none(clean_json(value, self))

    def is_enabled(self, definition: Mapping[str, Any]) -> bool:
        """Return whether the resource's condition is true, or it has none."""
        condition = definition.get("Condition")
        return condition is None or bool(self.lazy_condition_map[condition])

    def __getitem__(self, key: str) -> Any:
        if key in self.deployed:
            return self.deployed[key]
        if key in self._parsed_resources:
            return self._parsed_resources[key]
        raise ValidationError(
            message=f"Template format error: Unresolved resource dependencies [{key}] in the Resources block of the "
            "template"
        )

    def get(self, key: str, default: Any = None) -> Any:
        """Return a deployed resource or a parameter, or `default`."""
        return self.deployed.get(key, self._parsed_resources.get(key, default))

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.deployed))

    def __len__(self) -> int:
        return len(self.deployed)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value if item is not None]
    return value
