"""Lambda functions for tests: one that does what its event says, and what is needed to create others."""

import io
import json
import zipfile
from typing import Any

from conformance.workspace import Workspace, allow

# The function answers what its event asks for: {"do": "environment"}.
SOURCE = """
import json, os, sys, time

def handler(event, context):
    print("event", event.get("say", ""))
    return globals()["do_" + event.get("do", "echo")](event, context)

def do_echo(event, context):
    return event

def do_environment(event, context):
    return dict(os.environ)

def do_context(event, context):
    names = ("function_name", "function_version", "invoked_function_arn", "memory_limit_in_mb", "aws_request_id",
             "log_group_name", "log_stream_name")
    return {name: str(getattr(context, name)) for name in names} | {"left": context.get_remaining_time_in_millis()}

def do_raise(event, context):
    raise ValueError("wrong value")

def do_exit(event, context):
    os._exit(3)

def do_sleep(event, context):
    time.sleep(event["seconds"])

def do_large(event, context):
    return "x" * event["bytes"]

def do_object(event, context):
    return object()

def do_disk(event, context):
    path = "/tmp/" + context.aws_request_id
    with open(path, "wb") as file:
        file.write(b"x")
    os.remove(path)
    return os.getcwd() == os.environ["LAMBDA_TASK_ROOT"]

def do_fail_and_tell(event, context):
    import boto3
    boto3.client("sqs").send_message(QueueUrl=event["queue"], MessageBody=context.aws_request_id)
    raise ValueError("wrong value")

def do_recurse(event, context):
    import boto3
    boto3.client("sqs").send_message(QueueUrl=event["queue"], MessageBody=str(event["depth"]))
    boto3.client("lambda").invoke(
        FunctionName=context.function_name, InvocationType="Event",
        Payload=json.dumps({**event, "depth": event["depth"] + 1}),
    )
"""


def archive(source: str) -> bytes:
    """Return a deployment package with this source as `index.py`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("index.py", source)
    return buffer.getvalue()


class Function:
    """A function with its role and its log group."""

    def __init__(
        self, workspace: Workspace, *statements: dict[str, Any], source: str = SOURCE, **settings: Any
    ) -> None:
        self.workspace, self.name = workspace, workspace.name("function")
        self.client = workspace.client("lambda")
        account, region = workspace.target.account_id, workspace.target.region
        self.log_group = f"/aws/lambda/{self.name}"
        logs = f"arn:aws:logs:{region}:{account}:log-group:{self.log_group}"
        logging = allow(
            "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", resource=[logs, f"{logs}:*"]
        )
        self.role = settings.pop("Role", None) or workspace.role("lambda", [logging, *statements])
        arguments = {
            "Runtime": "python3.12",
            "Handler": "index.handler",
            "Code": {"ZipFile": archive(source)},
            "Timeout": 10,
            "Tags": {tag["Key"]: tag["Value"] for tag in workspace.tags},
            **settings,
        }
        self.arn = self.client.create_function(FunctionName=self.name, Role=self.role, **arguments)["FunctionArn"]
        workspace.later(f"function {self.name}", lambda: self.client.delete_function(FunctionName=self.name))
        workspace.later(
            f"log group {self.log_group}",
            lambda: workspace.client("logs").delete_log_group(logGroupName=self.log_group),
        )
        self.client.get_waiter("function_active_v2").wait(FunctionName=self.name)

    def invoke(self, event: Any, **arguments: Any) -> dict[str, Any]:
        """Invoke the function; return the answer with its Payload as bytes."""
        answer = self.client.invoke(FunctionName=self.name, Payload=json.dumps(event).encode(), **arguments)
        return {**answer, "Payload": answer["Payload"].read()}

    def result(self, event: Any, **arguments: Any) -> Any:
        """Invoke the function; return its answer, parsed."""
        return json.loads(self.invoke(event, **arguments)["Payload"])

    def log_lines(self, part: str) -> list[str]:
        """Wait for a line with `part` in the log group; return all lines."""
        logs = self.workspace.client("logs")

        def found() -> list[str]:
            try:
                pages = logs.get_paginator("filter_log_events").paginate(logGroupName=self.log_group)
                lines = [event["message"] for page in pages for event in page["events"]]
            except logs.exceptions.ResourceNotFoundException:
                return []
            return lines if any(part in line for line in lines) else []

        return self.workspace.wait(found, f"a line with {part}")
