"""AWS::ApplicationAutoScaling::ScalableTarget with scheduled actions and tags."""

from typing import Any

TARGET = {
    "ServiceNamespace": "sagemaker",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    "ResourceId": "endpoint/scheduled/variant/AllTraffic",
    "MinCapacity": 0,
    "MaxCapacity": 2,
}
Action = tuple[str, int]  # schedule and MinCapacity


def target(actions: dict[str, Action], tags: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a scalable target with scheduled actions by name."""
    scheduled = [
        {
            "ScheduledActionName": name,
            "Schedule": schedule,
            "Timezone": "Europe/Berlin",
            "ScalableTargetAction": {"MinCapacity": minimum, "MaxCapacity": 2},
        }
        for name, (schedule, minimum) in actions.items()
    ]
    listed = [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
    properties = {**TARGET, "ScheduledActions": scheduled, **({"Tags": listed} if tags else {})}
    return {"Target": {"Type": "AWS::ApplicationAutoScaling::ScalableTarget", "Properties": properties}}


def deployed(stack: Any) -> dict[str, Action]:
    """Return the scheduled actions that exist, by name."""
    scaling = stack.aws.client("application-autoscaling")
    found = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker", ResourceId=TARGET["ResourceId"])
    return {
        action["ScheduledActionName"]: (action["Schedule"], action["ScalableTargetAction"]["MinCapacity"])
        for action in found["ScheduledActions"]
    }


def test_scheduled_actions_are_created_changed_and_deleted_with_their_stack(stack: Any) -> None:
    both = {"Open": ("cron(0 8 ? * MON-FRI *)", 1), "Close": ("cron(0 18 ? * MON-FRI *)", 0)}
    assert stack.deploy(target(both, {"team": "audio"})) == "CREATE_COMPLETE", stack.reason("CREATE_FAILED")
    assert deployed(stack) == both
    changed = {"Open": ("cron(0 9 ? * MON-FRI *)", 2)}
    assert stack.deploy(target(changed)) == "UPDATE_COMPLETE", stack.reason("UPDATE_FAILED")
    assert deployed(stack) == changed
    assert stack.delete() == "DELETE_COMPLETE"
    assert deployed(stack) == {}


def test_scheduled_actions_are_deleted_when_their_target_leaves_the_template(stack: Any) -> None:
    actions = {"Open": ("cron(0 8 ? * MON-FRI *)", 1)}
    assert stack.deploy(target(actions)) == "CREATE_COMPLETE", stack.reason("CREATE_FAILED")
    assert deployed(stack) == actions
    stack.deploy({"Other": {"Type": "AWS::SNS::Topic", "Properties": {}}})
    assert deployed(stack) == {}
