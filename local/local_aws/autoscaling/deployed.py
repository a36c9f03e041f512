"""What a template says of scaling and of the endpoint that is scaled, in the shape of the Describe calls."""

from collections.abc import Mapping
from dataclasses import dataclass

from local_aws.autoscaling.definitions import Described
from local_aws.autoscaling.scaling import Scaling
from local_aws.autoscaling.template import Template

TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"
POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"
ALARM = "AWS::CloudWatch::Alarm"
ENDPOINT = "AWS::SageMaker::Endpoint"
ENDPOINT_CONFIG = "AWS::SageMaker::EndpointConfig"


@dataclass(frozen=True)
class DeployedEndpoint:
    """What the template says of the endpoint that is scaled."""

    name: str
    variant: str
    instance_type: str
    initial_instances: int
    concurrency: int


def read_scaling(template: Template) -> Scaling:
    """The template's one scalable target, its policies and all alarms."""
    targets = dict(template.of_type(TARGET))
    if len(targets) != 1:
        raise ValueError(f"the template must have exactly one scalable target, got {len(targets)}")
    policies = [_policy(logical_id, properties, targets) for logical_id, properties in template.of_type(POLICY)]
    alarms = [{"AlarmName": logical_id, **properties} for logical_id, properties in template.of_type(ALARM)]
    [target] = targets.values()
    return Scaling.of(target, policies, alarms, target.get("ScheduledActions") or ())


def read_endpoint(template: Template) -> DeployedEndpoint:
    """The template's one endpoint with its configuration."""
    endpoints, configs = dict(template.of_type(ENDPOINT)), dict(template.of_type(ENDPOINT_CONFIG))
    if len(endpoints) != 1 or len(configs) != 1:
        raise ValueError(
            "the template must have exactly one endpoint and one configuration, "
            f"got {len(endpoints)} and {len(configs)}"
        )
    [(logical_id, endpoint)], [config] = endpoints.items(), configs.values()
    variant = config["ProductionVariants"][0]
    client: Described = config["AsyncInferenceConfig"].get("ClientConfig") or {}
    return DeployedEndpoint(
        name=endpoint.get("EndpointName", f"<{logical_id}.EndpointName>"),
        variant=variant["VariantName"],
        instance_type=_instance_type(variant),
        initial_instances=int(variant.get("InitialInstanceCount", 1)),
        concurrency=int(client.get("MaxConcurrentInvocationsPerInstance", 1)),
    )


def _instance_type(variant: Described) -> str:
    """The variant's type, or the first of its pool."""
    pools: list[Described] = variant.get("InstancePools") or [{}]
    kind: str = variant.get("InstanceType") or pools[0]["InstanceType"]
    return kind


def _policy(logical_id: str, properties: Described, targets: Mapping[str, Described]) -> Described:
    """As DescribeScalingPolicies has it. The policy names its target by reference or by its three ids."""
    reference = str(properties.get("ScalingTargetId", "")).strip("<>")
    place = targets.get(reference) or properties
    return {**properties, "PolicyARN": f"<{logical_id}>", "ResourceId": place["ResourceId"]}
