"""AWS::ApplicationAutoScaling::ScalingPolicy."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, require_known
from local_aws.emulator.resources.conform import call

_IDENTITY = ("ResourceId", "ScalableDimension", "ServiceNamespace")
_CONFIGURATIONS = ("StepScalingPolicyConfiguration", "TargetTrackingScalingPolicyConfiguration")
_KNOWN = frozenset(_IDENTITY) | frozenset(_CONFIGURATIONS) | {"PolicyName", "PolicyType", "ScalingTargetId"}


class ScalingPolicy(Handler):
    """When and how far to scale; `Ref` is its ARN."""

    types = ("AWS::ApplicationAutoScaling::ScalingPolicy",)
    immutable = frozenset(_IDENTITY) | {"PolicyName", "ScalingTargetId"}

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        settings = {key: properties[key] for key in ("PolicyName", "PolicyType", *_CONFIGURATIONS) if key in properties}
        answer = call(context, "application-autoscaling", "PutScalingPolicy", {**settings, **_identity(properties)})
        arn = answer["PolicyARN"]
        return Outcome(arn, {"Arn": arn, "PolicyName": properties["PolicyName"]})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        return self.create(context, new)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("application-autoscaling").delete_scaling_policy(
            PolicyName=properties["PolicyName"], **_identity(properties)
        )


def _identity(properties: Properties) -> dict[str, str]:
    if "ScalingTargetId" in properties:
        return dict(zip(_IDENTITY, properties["ScalingTargetId"].split("|"), strict=True))
    return {name: properties[name] for name in _IDENTITY}
