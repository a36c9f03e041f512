"""AWS::ApplicationAutoScaling::ScalableTarget and ScalingPolicy."""

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, pick

_SERVICE = "application-autoscaling"
_IDENTITY = ("ResourceId", "ScalableDimension", "ServiceNamespace")
_CONFIGURATIONS = ("StepScalingPolicyConfiguration", "TargetTrackingScalingPolicyConfiguration")


class ScalableTarget(Handler):
    """`Ref` is `<resource id>|<dimension>|<namespace>`."""

    types = ("AWS::ApplicationAutoScaling::ScalableTarget",)
    properties = frozenset(
        {*_IDENTITY, "MaxCapacity", "MinCapacity", "RoleARN", "ScheduledActions", "SuspendedState", "Tags"}
    )
    immutable = frozenset(_IDENTITY)

    def create(self, context: Context, properties: Properties) -> Outcome:
        target = {name: value for name, value in properties.items() if name != "ScheduledActions"}
        context.call(_SERVICE, "RegisterScalableTarget", target)
        identity = pick(properties, *_IDENTITY)
        for action in properties.get("ScheduledActions", []):
            context.call(_SERVICE, "PutScheduledAction", {**identity, **action})
        physical_id = "|".join(identity.values())
        return Outcome(physical_id, {"Id": physical_id})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        _delete_actions(context, old, _action_names(old) - _action_names(new))
        return self.create(context, new)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        _delete_actions(context, properties, _action_names(properties))
        identity = dict(zip(_IDENTITY, physical_id.split("|"), strict=True))
        context.client(_SERVICE).deregister_scalable_target(**identity)


def _action_names(properties: Properties) -> set[str]:
    return {action["ScheduledActionName"] for action in properties.get("ScheduledActions", [])}


def _delete_actions(context: Context, properties: Properties, names: set[str]) -> None:
    for name in sorted(names):
        context.client(_SERVICE).delete_scheduled_action(**pick(properties, *_IDENTITY), ScheduledActionName=name)


class ScalingPolicy(Handler):
    """`Ref` is the policy's ARN."""

    types = ("AWS::ApplicationAutoScaling::ScalingPolicy",)
    properties = frozenset({*_IDENTITY, *_CONFIGURATIONS, "PolicyName", "PolicyType", "ScalingTargetId"})
    immutable = frozenset({*_IDENTITY, "PolicyName", "ScalingTargetId"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        settings = pick(properties, "PolicyName", "PolicyType", *_CONFIGURATIONS)
        arn = context.call(_SERVICE, "PutScalingPolicy", {**settings, **_target_of(properties)})["PolicyARN"]
        return Outcome(arn, {"Arn": arn, "PolicyName": properties["PolicyName"]})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        return self.create(context, new)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client(_SERVICE).delete_scaling_policy(PolicyName=properties["PolicyName"], **_target_of(properties))


def _target_of(properties: Properties) -> dict[str, str]:
    if "ScalingTargetId" in properties:
        return dict(zip(_IDENTITY, properties["ScalingTargetId"].split("|"), strict=True))
    return {name: properties[name] for name in _IDENTITY}
