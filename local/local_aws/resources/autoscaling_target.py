"""AWS::ApplicationAutoScaling::ScalableTarget."""

from __future__ import annotations

from local_aws.resources.base import Context, Handler, Outcome, Properties, require_known
from local_aws.resources.conform import call

_IDENTITY = ("ResourceId", "ScalableDimension", "ServiceNamespace")
_KNOWN = frozenset(_IDENTITY) | {"MaxCapacity", "MinCapacity", "RoleARN", "SuspendedState"}


class ScalableTarget(Handler):
    """What may be scaled and how far; `Ref` is `<resource id>|<dimension>|<namespace>`."""

    types = ("AWS::ApplicationAutoScaling::ScalableTarget",)
    immutable = frozenset(_IDENTITY)

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        call(context, "application-autoscaling", "RegisterScalableTarget", properties)
        identity = "|".join(properties[name] for name in _IDENTITY)
        return Outcome(identity, {"Id": identity})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        return self.create(context, new)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        identity = dict(zip(_IDENTITY, physical_id.split("|"), strict=True))
        context.client("application-autoscaling").deregister_scalable_target(**identity)
