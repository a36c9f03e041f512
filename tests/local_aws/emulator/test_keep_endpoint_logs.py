"""`Custom::EndpointLogs`: the log group and the reason in it outlive a creation that is rolled back."""

import json
from pathlib import Path
from typing import Any

import pytest

SOURCE = (Path(__file__).parents[3] / "lambda" / "keep_endpoint_logs" / "index.py").read_text(encoding="utf-8")
# Writes lines to the log group as a container does, then fails if it is told to, as an endpoint does.
CONTAINER = """
import json, time, urllib.request, boto3

def handler(event, context):
    given, logs = event["ResourceProperties"], boto3.client("logs")
    if event["RequestType"] == "Create" and given["Lines"]:
        logs.create_log_stream(logGroupName=given["Group"], logStreamName="AllTraffic/i-1")
        events = [{"timestamp": int(time.time() * 1000), "message": line} for line in given["Lines"]]
        logs.put_log_events(logGroupName=given["Group"], logStreamName="AllTraffic/i-1", logEvents=events)
    answer = {key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")}
    failing = event["RequestType"] == "Create" and given["Fails"] == "true"
    answer |= {"Status": "FAILED" if failing else "SUCCESS", "Reason": "no ping", "PhysicalResourceId": "endpoint"}
    body, headers = json.dumps(answer).encode(), {"Content-Type": ""}
    request = urllib.request.Request(event["ResponseURL"], data=body, headers=headers, method="PUT")
    urllib.request.urlopen(request).read()
"""
LINES = ["starting", "W-9000 loading", "CUDA error: the driver is too old \u2013 see the remedy", "stopping"]
WRITES = [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}]


def resources(function_resources: Any, lines: list[str], *, fails: bool, may_read: bool = True) -> dict[str, Any]:
    actions = ["logs:DescribeLogStreams", "logs:GetLogEvents"]
    reads = [
        {"Effect": "Allow", "Action": actions, "Resource": arn("EndpointLogs")},
        {"Effect": "Allow", "Action": "cloudformation:DescribeStacks", "Resource": {"Ref": "AWS::StackId"}},
    ]
    reporter = function_resources(SOURCE, reads if may_read else [])
    container = function_resources(CONTAINER, WRITES)
    container["Function"]["Properties"] |= {
        "Role": arn("ContainerRole"),
        "LoggingConfig": {"LogGroup": {"Ref": "ContainerLogs"}},
    }
    container["Role"] = json.loads(json.dumps(container["Role"]).replace('["Logs", "Arn"]', '["ContainerLogs", "Arn"]'))
    endpoint = {"Group": {"Ref": "EndpointLogs"}, "Lines": lines, "Fails": fails}
    return {
        **reporter,
        "ContainerLogs": container["Logs"],
        "ContainerRole": container["Role"],
        "Container": container["Function"],
        "EndpointLogs": {"Type": "AWS::Logs::LogGroup"},
        "Keeper": {
            "Type": "Custom::EndpointLogs",
            "DependsOn": ["Role", "Logs"],
            "Properties": {"ServiceToken": arn("Function"), "LogGroupName": {"Ref": "EndpointLogs"}},
        },
        "Endpoint": {
            "Type": "Custom::Endpoint",
            "DependsOn": ["Keeper", "ContainerRole"],
            "Properties": {"ServiceToken": arn("Container"), "ServiceTimeout": 60, **endpoint},
        },
    }


def arn(logical_id: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [logical_id, "Arn"]}


def kept(stack: Any) -> set[str]:
    """The log groups that exist of those that the stack created."""
    groups = stack.aws.client("logs").describe_log_groups()["logGroups"]
    return {
        name
        for name in ("EndpointLogs", "Logs", "ContainerLogs")
        if any(name == group["logGroupName"].removeprefix(f"{stack.name}-").split("-")[0] for group in groups)
    }


def test_failed_creation_reports_the_last_errors_and_keeps_the_log_group(stack: Any, function_resources: Any) -> None:
    assert stack.deploy(resources(function_resources, LINES, fails=True)) == "ROLLBACK_FAILED"
    reason = stack.reason("DELETE_FAILED")
    assert LINES[2] in reason
    assert LINES[1] not in reason
    assert kept(stack) == {"EndpointLogs", "Logs"}
    assert "DELETE_COMPLETE" in stack.events("Container")
    assert "DELETE_IN_PROGRESS" not in stack.events("EndpointLogs")
    assert stack.delete() == "DELETE_COMPLETE"
    assert kept(stack) == set()


def test_lines_without_a_known_word_are_reported_as_they_are(stack: Any, function_resources: Any) -> None:
    assert stack.deploy(resources(function_resources, LINES[:2], fails=True)) == "ROLLBACK_FAILED"
    assert " | ".join(LINES[:2]) in stack.reason("DELETE_FAILED")


def test_long_log_is_cut_to_its_end_and_fits_into_a_response(stack: Any, function_resources: Any) -> None:
    lines = [f"error {number} \u2013 {'x' * 90}" for number in range(200)]
    assert stack.deploy(resources(function_resources, lines, fails=True)) == "ROLLBACK_FAILED"
    reason = stack.reason("DELETE_FAILED")
    assert reason.count("error 199") == 1
    assert "error 100" not in reason


@pytest.mark.parametrize(
    ("lines", "fails", "may_read", "status"),
    [
        ([], True, True, "ROLLBACK_COMPLETE"),  # nothing was logged, so nothing is kept
        (LINES, True, False, "ROLLBACK_COMPLETE"),  # its own errors never stand in the way
        (LINES, False, True, "CREATE_COMPLETE"),
    ],
)
def test_every_other_deletion_succeeds(
    stack: Any, function_resources: Any, lines: list[str], fails: bool, may_read: bool, status: str
) -> None:
    assert stack.deploy(resources(function_resources, lines, fails=fails, may_read=may_read)) == status
    assert stack.delete() == "DELETE_COMPLETE"
    assert kept(stack) == set()


def test_source_may_be_deployed_inline() -> None:
    assert len(SOURCE) <= 4096
