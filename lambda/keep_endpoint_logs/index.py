"""`Custom::EndpointLogs`: keeps the endpoint's log group, and the reason in it, when the stack's creation fails.

Deployed inline, with the boto3 of Lambda's runtime, so it may have at most 4096 characters.

The endpoint depends on this resource, and this resource on the endpoint's log group. When CloudFormation rolls back the
creation of a stack whose endpoint did not start, it deletes the endpoint, then this resource, then the log group. This
deletion then fails on purpose, with the container's last errors as its reason: the stack's events show why the
container did not start, and the log group stays until the stack is deleted. Every other request succeeds, whatever
goes wrong here.
"""
# pyright: reportUnknownMemberType=false
# (boto3's stubs are installed for some services only)

import json
import re
import urllib.request
from typing import Any

import boto3

SIGNS = re.compile("error|exception|traceback|fatal|killed|out of memory", re.IGNORECASE)
MAX_EVENTS = 500
MAX_LINE = 500  # characters: what a traceback ends with does not fit, but the bundle's lines start with the error
MAX_REASON = 1500  # bytes as JSON: CloudFormation accepts responses of 4096, and consoles cut long reasons


def handler(event: dict[str, Any], context: object) -> None:
    """Answer one request of CloudFormation at its ResponseURL."""
    reason = ""
    if event["RequestType"] == "Delete":
        try:
            reason = find_reason(event["StackId"], event["ResourceProperties"]["LogGroupName"])
        except Exception as error:  # nothing may stand in the way of `cdk destroy`
            print(f"{type(error).__name__}: {error}")
    response = {
        **{key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
        "PhysicalResourceId": event.get("PhysicalResourceId", event["LogicalResourceId"]),
        "Status": "FAILED" if reason else "SUCCESS",
        "Reason": reason,
    }
    # CloudFormation signs its URL for an empty Content-Type, and urllib would send one of its own.
    headers, body = {"Content-Type": ""}, json.dumps(response).encode()
    request = urllib.request.Request(event["ResponseURL"], data=body, headers=headers, method="PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def find_reason(stack: str, group: str) -> str:
    """Return why the log group must stay; an empty string if it may go."""
    cloudformation: Any = boto3.client("cloudformation")
    (described,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    if described["StackStatus"] != "ROLLBACK_IN_PROGRESS":
        return ""
    lines = last_lines(boto3.client("logs"), group)
    if not lines:
        return ""
    start = f"The container's log is kept in {group} until the stack is destroyed or deployed again. Its last errors: "
    shown: dict[str, str] = {}  # by text without numbers: a worker that restarts repeats its errors
    for line in reversed([line for line in lines if SIGNS.search(line)] or lines):
        candidate = {re.sub(r"[\da-f-]*\d[\da-f-]*", "", line)[:200]: line[:MAX_LINE]} | shown
        if shown and len(json.dumps(start + " | ".join(candidate.values()))) > MAX_REASON:
            break
        shown = candidate
    return start + " | ".join(shown.values())


def last_lines(logs: Any, group: str) -> list[str]:
    """Return the last lines of the log stream that was written last."""
    found = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True, limit=1)
    for stream in found["logStreams"]:
        name = stream["logStreamName"]
        events = logs.get_log_events(logGroupName=group, logStreamName=name, limit=MAX_EVENTS, startFromHead=False)
        return [event["message"].strip() for event in events["events"] if event["message"].strip()]
    return []
