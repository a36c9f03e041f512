"""Read the endpoint and its scaling from a synthesised CloudFormation template, without AWS."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from local_aws.autoscaling.rules.scaling_config import Description, ScalingConfig

TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"
POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"
ALARM = "AWS::CloudWatch::Alarm"
ENDPOINT = "AWS::SageMaker::Endpoint"
ENDPOINT_CONFIG = "AWS::SageMaker::EndpointConfig"
_PSEUDO_PARAMETERS = {"AWS::Region": "us-east-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws"}
_NAME_ATTRIBUTES = {ENDPOINT: "EndpointName", ALARM: "AlarmName"}


class Template:
    """A CloudFormation template, with its references resolved as far as comparisons need.

    A reference to a resource becomes a string unique to that resource; a name set in the template becomes that name.
    Raise ValueError for a reference to an unknown resource.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._resources: Mapping[str, Mapping[str, Any]] = body["Resources"]
        self._parameters: Mapping[str, Mapping[str, Any]] = body.get("Parameters") or {}

    def of_type(self, resource_type: str) -> Iterator[tuple[str, Description]]:
        """Yield the logical id and resolved properties of each resource of a type, in the template's order."""
        for logical_id, resource in self._resources.items():
            if resource["Type"] == resource_type:
                yield logical_id, self.resolve(resource.get("Properties") or {})

    def depends_on(self, logical_id: str) -> set[str]:
        """Return the resources that this one depends on, by DependsOn or by reference, directly or indirectly."""
        found: set[str] = set()
        pending = [logical_id]
        while pending:
            resource = self._resources[pending.pop()]
            explicit: str | list[str] = resource.get("DependsOn") or []
            names = {explicit} if isinstance(explicit, str) else set(explicit)
            needed = (names | set(_references(resource.get("Properties")))) & set(self._resources)
            pending.extend(needed - found)
            found |= needed
        return found

    def resolve(self, value: Any) -> Any:
        """Return `value` with its intrinsic functions replaced."""
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
                if name in _PSEUDO_PARAMETERS:
                    return _PSEUDO_PARAMETERS[name]
                if name in self._parameters:
                    return self._parameters[name].get("Default", f"<parameter {name}>")
                self._resource(name)
                return f"<{name}>"
            case "Fn::GetAtt", [str(name), str(attribute)]:
                resource = self._resource(name)
                properties: Description = resource.get("Properties") or {}
                if attribute == _NAME_ATTRIBUTES.get(resource["Type"]) and attribute in properties:
                    return self.resolve(properties[attribute])
                return f"<{name}.{attribute}>"
            case "Fn::Join", [str(separator), [*parts]]:
                return separator.join(str(self.resolve(part)) for part in parts)
            case _:
                return f"<{function} {argument}>"  # scaling rules never compare these values

    def _resource(self, name: str) -> Mapping[str, Any]:
        if name not in self._resources:
            raise ValueError(f"a reference must name a resource or parameter of the template, got {name}")
        return self._resources[name]


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


@dataclass(frozen=True)
class DeclaredEndpoint:
    """The scaled endpoint as the template declares it."""

    name: str
    variant: str
    instance_type: str
    initial_instances: int
    concurrency: int


def read_scaling(template: Template) -> ScalingConfig:
    """Return the template's one scalable target with its policies, and all alarms."""
    targets = dict(template.of_type(TARGET))
    if len(targets) != 1:
        raise ValueError(f"the template must have exactly one scalable target, got {len(targets)}")
    [target] = targets.values()
    policies: list[Description] = []
    for logical_id, properties in template.of_type(POLICY):
        # A policy names its target by reference or by the target's three ids.
        reference = str(properties.get("ScalingTargetId", "")).strip("<>")
        resource_id = targets.get(reference, properties)["ResourceId"]
        policies.append({**properties, "PolicyARN": f"<{logical_id}>", "ResourceId": resource_id})
    alarms = [{"AlarmName": logical_id, **properties} for logical_id, properties in template.of_type(ALARM)]
    return ScalingConfig.of(target, policies, alarms, target.get("ScheduledActions") or ())


def read_endpoint(template: Template) -> DeclaredEndpoint:
    """Return the template's one endpoint with its configuration."""
    endpoints, configs = dict(template.of_type(ENDPOINT)), dict(template.of_type(ENDPOINT_CONFIG))
    if len(endpoints) != 1 or len(configs) != 1:
        raise ValueError(
            "the template must have exactly one endpoint and one configuration, "
            f"got {len(endpoints)} and {len(configs)}"
        )
    [(logical_id, endpoint)], [config] = endpoints.items(), configs.values()
    variant = config["ProductionVariants"][0]
    pools: list[Description] = variant.get("InstancePools") or [{}]
    client: Description = config["AsyncInferenceConfig"].get("ClientConfig") or {}
    return DeclaredEndpoint(
        name=endpoint.get("EndpointName", f"<{logical_id}.EndpointName>"),
        variant=variant["VariantName"],
        instance_type=variant.get("InstanceType") or pools[0]["InstanceType"],
        initial_instances=int(variant.get("InitialInstanceCount", 1)),
        concurrency=int(client.get("MaxConcurrentInvocationsPerInstance", 1)),
    )
