"""Lambda-backed custom resources: create, update, delete, failures, timeouts."""

from typing import Any

# Answer as the properties say, and record every request in the parameter store.
SOURCE = """
import json, urllib.request, boto3

def handler(event, context):
    properties = event["ResourceProperties"]
    ssm, name = boto3.client("ssm"), properties["Diary"]
    entry = [event["RequestType"], event.get("PhysicalResourceId", ""), properties.get("Name", "")]
    try:
        diary = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        diary = []
    ssm.put_parameter(Name=name, Value=json.dumps([*diary, entry]), Type="String", Overwrite=True)
    if properties.get("Silent") == "true":
        return
    failing = event["RequestType"] in properties.get("FailOn", "")
    answer = {key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")}
    answer |= {"Status": "FAILED" if failing else "SUCCESS", "Reason": "asked to fail"}
    answer["Data"] = {"Echo": properties.get("Name", "")}
    answer["PhysicalResourceId"] = properties.get("Name") or event.get("PhysicalResourceId", "unnamed")
    body, headers = json.dumps(answer).encode(), {"Content-Type": ""}
    request = urllib.request.Request(event["ResponseURL"], data=body, headers=headers, method="PUT")
    urllib.request.urlopen(request).read()
"""
RIGHTS = [{"Effect": "Allow", "Action": ["ssm:GetParameter", "ssm:PutParameter"], "Resource": "*"}]
RETRIES = {
    "Type": "AWS::Lambda::EventInvokeConfig",
    "Properties": {"FunctionName": {"Ref": "Function"}, "Qualifier": "$LATEST", "MaximumRetryAttempts": 0},
}


def resources(stack: Any, function_resources: Any, **properties: Any) -> dict[str, Any]:
    custom = {
        "Type": "Custom::Diary",
        "DependsOn": ["Role", "Retries"],
        "Properties": {"ServiceToken": {"Fn::GetAtt": ["Function", "Arn"]}, "Diary": f"/{stack.name}", **properties},
    }
    return {**function_resources(SOURCE, RIGHTS), "Retries": RETRIES, "Custom": custom}


def diary(stack: Any) -> list[list[str]]:
    import json

    ssm = stack.aws.client("ssm")
    return json.loads(ssm.get_parameter(Name=f"/{stack.name}")["Parameter"]["Value"])


def test_attributes_and_physical_id_come_from_the_answer(stack: Any, function_resources: Any) -> None:
    outputs = {"Echo": {"Value": {"Fn::GetAtt": ["Custom", "Echo"]}}}
    assert stack.deploy(resources(stack, function_resources, Name="a"), Outputs=outputs) == "CREATE_COMPLETE"
    assert (stack.outputs()["Echo"], stack.physical_id("Custom")) == ("a", "a")


def test_update_with_a_new_physical_id_deletes_the_old_one(stack: Any, function_resources: Any) -> None:
    stack.deploy(resources(stack, function_resources, Name="a"))
    assert stack.deploy(resources(stack, function_resources, Name="b")) == "UPDATE_COMPLETE"
    assert diary(stack) == [["Create", "", "a"], ["Update", "a", "b"], ["Delete", "a", "a"]]
    assert stack.delete() == "DELETE_COMPLETE"
    assert diary(stack)[-1] == ["Delete", "b", "b"]


def test_failed_creation_reports_its_reason_and_is_deleted(stack: Any, function_resources: Any) -> None:
    assert stack.deploy(resources(stack, function_resources, Name="a", FailOn="Create")) == "ROLLBACK_COMPLETE"
    expected = "Received response status [FAILED] from custom resource. Message returned: asked to fail"
    assert expected in stack.reason("CREATE_FAILED")
    assert diary(stack) == [["Create", "", "a"], ["Delete", "a", "a"]]


def test_failed_update_is_rolled_back_by_another_update(stack: Any, function_resources: Any) -> None:
    stack.deploy(resources(stack, function_resources, Name="a"))
    status = stack.deploy(resources(stack, function_resources, Name="a", Extra="x", FailOn="Update"))
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert [entry[0] for entry in diary(stack)] == ["Create", "Update", "Update"]
    assert stack.physical_id("Custom") == "a"


def test_later_failure_restores_the_resource_and_deletes_the_new_one(stack: Any, function_resources: Any) -> None:
    broken = {"Type": "AWS::S3::Bucket", "DependsOn": "Custom", "Properties": {"Colour": "blue"}}
    stack.deploy(resources(stack, function_resources, Name="a"))
    status = stack.deploy({**resources(stack, function_resources, Name="b"), "Broken": broken})
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert diary(stack) == [
        ["Create", "", "a"],
        ["Update", "a", "b"],
        ["Update", "b", "a"],
        ["Delete", "b", "b"],
    ]
    assert stack.physical_id("Custom") == "a"


def test_properties_reach_the_function_as_strings(stack: Any, function_resources: Any) -> None:
    stack.deploy(resources(stack, function_resources, Name=17))
    assert diary(stack) == [["Create", "", "17"]]


def test_function_that_never_answers_fails_the_resource(stack: Any, function_resources: Any) -> None:
    # CloudFormation would wait for an hour, longer than this test's timeout.
    status = stack.deploy(resources(stack, function_resources, Name="a", Silent=True, ServiceTimeout=3600))
    assert status == "ROLLBACK_FAILED"  # its Delete gets no answer either
    assert "did not receive a response from your Custom Resource" in stack.reason("CREATE_FAILED")
    # The survivor's function is kept for a later deletion.
    assert "Function DELETE_IN_PROGRESS" not in stack.events()


def test_service_timeout_ends_the_wait(stack: Any, function_resources: Any) -> None:
    slow = "import time\ndef handler(event, context): time.sleep(60)\n"
    parts = resources(stack, function_resources, Name="a", ServiceTimeout=1)
    parts["Function"] = function_resources(slow, Timeout=3)["Function"]
    assert stack.deploy(parts) == "ROLLBACK_FAILED"
    assert "did not receive a response" in stack.reason("CREATE_FAILED")


def test_response_with_a_content_type_is_refused_like_a_presigned_url_does(stack: Any, function_resources: Any) -> None:
    source = SOURCE.replace('{"Content-Type": ""}', '{"Content-Type": "application/json"}')
    parts = resources(stack, function_resources, Name="a", ServiceTimeout=5)
    parts["Function"] = function_resources(source, RIGHTS)["Function"]
    assert stack.deploy(parts) == "ROLLBACK_FAILED"
    assert "did not receive a response" in stack.reason("CREATE_FAILED")
