"""AWS::ApplicationAutoScaling::ScalableTarget with a schedule and tags."""

from typing import Any

TARGET = {
    "ServiceNamespace": "sagemaker",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    "ResourceId": "endpoint/scheduled/variant/AllTraffic",
    "MinCapacity": 0,
    "MaxCapacity": 2,
}


def action(name: str, least: int) -> dict[str, Any]:
    bounds = {"MinCapacity": least, "MaxCapacity": 2}
    return {"ScheduledActionName": name, "Schedule": "cron(0 9 * * ? *)", "ScalableTargetAction": bounds}


def target(**properties: Any) -> dict[str, Any]:
    return {"Target": {"Type": "AWS::ApplicationAutoScaling::ScalableTarget", "Properties": {**TARGET, **properties}}}


def test_schedule_and_tags_are_set_changed_and_removed_with_the_target(stack: Any) -> None:
    scaling = stack.aws.client("application-autoscaling")

    def actions() -> dict[str, int]:
        found = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker", ResourceId=TARGET["ResourceId"])
        return {a["ScheduledActionName"]: a["ScalableTargetAction"]["MinCapacity"] for a in found["ScheduledActions"]}

    tags = [{"Key": "team", "Value": "audio"}]
    both = [action("WarmUp", 1), action("WarmUpEnd", 0)]
    assert stack.deploy(target(ScheduledActions=both, Tags=tags)) == "CREATE_COMPLETE"
    assert actions() == {"WarmUp": 1, "WarmUpEnd": 0}
    assert stack.deploy(target(ScheduledActions=[action("WarmUp", 2)])) == "UPDATE_COMPLETE"
    assert actions() == {"WarmUp": 2}
    assert stack.delete() == "DELETE_COMPLETE"
    assert actions() == {}
