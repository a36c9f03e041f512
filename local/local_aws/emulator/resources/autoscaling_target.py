"""AWS::ApplicationAutoScaling::ScalableTarget."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, require_known
from local_aws.emulator.resources.conform import call

_IDENTITY = ("ResourceId", "ScalableDimension", "ServiceNamespace")
_KNOWN = frozenset(_IDENTITY) | {
    "MaxCapacity",
    "MinCapacity",
    "RoleARN",
    "ScheduledActions",
    "SuspendedState",
    "Tags",
}


class ScalableTarget(Handler):
    """What may be scaled and how far; `Ref` is `<resource id>|<dimension>|<namespace>`."""

    types = ("AWS::ApplicationAutoScaling::ScalableTarget",)
    immutable = frozenset(_IDENTITY)

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        target = {name: value for name, value in properties.items() if name not in ("ScheduledActions", "Tags")}
        target["Tags"] = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}  # which moto drops
        call(context, "application-autoscaling", "RegisterScalableTarget", target)
        place = {name: properties[name] for name in _IDENTITY}
        for action in properties.get("ScheduledActions", []):
            call(context, "application-autoscaling", "PutScheduledAction", {**place, **action})
        identity = "|".join(properties[name] for name in _IDENTITY)
        return Outcome(identity, {"Id": identity})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        _delete_actions(context, old, keep=_names(new))
        return self.create(context, new)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        identity = dict(zip(_IDENTITY, physical_id.split("|"), strict=True))
        _delete_actions(context, properties, keep=set())
        context.client("application-autoscaling").deregister_scalable_target(**identity)


def _names(properties: Properties) -> set[str]:
    return {action["ScheduledActionName"] for action in properties.get("ScheduledActions", [])}


def _delete_actions(context: Context, properties: Properties, *, keep: set[str]) -> None:
    identity = {name: properties[name] for name in _IDENTITY}
    for name in sorted(_names(properties) - keep):
        context.client("application-autoscaling").delete_scheduled_action(**identity, ScheduledActionName=name)
