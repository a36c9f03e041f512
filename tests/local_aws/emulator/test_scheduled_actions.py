"""Scheduled actions of a scalable target: deployed, changed and removed with it."""

from typing import Any

TARGET = {
    "ServiceNamespace": "sagemaker",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    "ResourceId": "endpoint/scheduled/variant/AllTraffic",
}


def target(**hours: int) -> dict[str, Any]:
    actions = [
        {
            "ScheduledActionName": name,
            "Schedule": f"cron(0 {hour} ? * MON-FRI *)",
            "Timezone": "Europe/Berlin",
            "ScalableTargetAction": {"MinCapacity": 1, "MaxCapacity": 2},
        }
        for name, hour in hours.items()
    ]
    properties = {**TARGET, "MinCapacity": 0, "MaxCapacity": 2, "ScheduledActions": actions}
    return {"Target": {"Type": "AWS::ApplicationAutoScaling::ScalableTarget", "Properties": properties}}


def deployed(stack: Any) -> dict[str, str]:
    scaling = stack.aws.client("application-autoscaling")
    found = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker", ResourceId=TARGET["ResourceId"])
    return {action["ScheduledActionName"]: action["Schedule"] for action in found["ScheduledActions"]}


def test_scheduled_actions_follow_the_template(stack: Any) -> None:
    assert stack.deploy(target(Open=8, Lunch=12)) == "CREATE_COMPLETE", stack.reason("CREATE_FAILED")
    assert deployed(stack) == {"Open": "cron(0 8 ? * MON-FRI *)", "Lunch": "cron(0 12 ? * MON-FRI *)"}
    assert stack.deploy(target(Open=9)) == "UPDATE_COMPLETE", stack.reason("UPDATE_FAILED")
    assert deployed(stack) == {"Open": "cron(0 9 ? * MON-FRI *)"}
    stack.deploy({"Other": {"Type": "AWS::SNS::Topic", "Properties": {}}})
    assert deployed(stack) == {}
