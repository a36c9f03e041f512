"""Lambda: asynchronous invocations, their retries and destinations, and recursive loops."""

import json
import time
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, allow, error_code
from tests.conformance.functions import Function

INVOKE = "https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"
ERRORS = "https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html"
CONFIG = "https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html"
RECORDS = "https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html"
RECURSION = "https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html"


class Queue:
    """A queue that a function may send to; `bodies` collects what arrived."""

    def __init__(self, workspace: Workspace) -> None:
        self.sqs, name = workspace.client("sqs"), workspace.name("queue")
        self.url = self.sqs.create_queue(QueueName=name, tags={tag["Key"]: tag["Value"] for tag in workspace.tags})[
            "QueueUrl"
        ]
        workspace.later(f"queue {name}", lambda: self.sqs.delete_queue(QueueUrl=self.url))
        self.arn = f"arn:aws:sqs:{workspace.target.region}:{workspace.target.account_id}:{name}"
        self.statement = allow("sqs:SendMessage", resource=self.arn)
        self.bodies: list[str] = []

    def receive(self) -> list[str]:
        """Receive what has arrived; return all bodies so far."""
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self.bodies.append(message["Body"])
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return self.bodies


@pytest.fixture
def queue(workspace: Workspace) -> Queue:
    """A queue for one test."""
    return Queue(workspace)


def function_with(workspace: Workspace, queue: Queue, **config: Any) -> Function:
    """Create a function that may send to the queue, with this event invoke configuration."""
    permissions = allow("lambda:InvokeFunction", resource="*")
    made = Function(workspace, queue.statement, permissions, Timeout=30)
    if config:
        made.client.put_function_event_invoke_config(FunctionName=made.name, **config)
    return made


@documented(INVOKE)
def test_an_event_is_accepted_with_202(workspace: Workspace, queue: Queue) -> None:
    """Event: invoke the function asynchronously. The API response only includes a status code, which is 202."""
    function = function_with(workspace, queue)
    answer = function.invoke({"do": "echo"}, InvocationType="Event")
    assert (answer["StatusCode"], answer["Payload"]) == (202, b"")
    assert "FunctionError" not in answer


@documented(INVOKE)
def test_an_asynchronous_payload_has_a_limit(workspace: Workspace, queue: Queue) -> None:
    """For asynchronous invocations, the maximum payload size is 1 MB."""
    function = function_with(workspace, queue)
    assert function.invoke({"x": "x" * 1_000_000}, InvocationType="Event")["StatusCode"] == 202
    code, _ = error_code(lambda: function.invoke({"x": "x" * (1024 * 1024 + 1024)}, InvocationType="Event"))
    assert code in ("RequestTooLargeException", "RequestEntityTooLargeException")


@documented(ERRORS, minutes=5)
def test_an_error_is_retried_twice(workspace: Workspace, queue: Queue) -> None:
    """If the function returns an error, by default Lambda attempts to run it two more times; the request's id stays."""
    function = function_with(workspace, queue)
    function.invoke({"do": "fail_and_tell", "queue": queue.url}, InvocationType="Event")
    workspace.wait(lambda: len(queue.receive()) >= 3, "three attempts", 30)
    time.sleep(3 * workspace.target.patience)
    assert len(queue.receive()) == 3 and len(set(queue.bodies)) == 1


@documented(CONFIG, minutes=2)
def test_retries_can_be_switched_off(workspace: Workspace, queue: Queue) -> None:
    """MaximumRetryAttempts: the maximum number of times to retry when the function returns an error; it may be 0."""
    function = function_with(workspace, queue, MaximumRetryAttempts=0)
    function.invoke({"do": "fail_and_tell", "queue": queue.url}, InvocationType="Event")
    workspace.wait(queue.receive, "one attempt", 20)
    time.sleep(4 * workspace.target.patience)
    assert len(queue.receive()) == 1


@documented(CONFIG)
def test_retries_and_age_have_bounds(workspace: Workspace, queue: Queue) -> None:
    """MaximumRetryAttempts: maximum value of 2. MaximumEventAgeInSeconds: maximum value of 21600."""
    function = function_with(workspace, queue)
    put = function.client.put_function_event_invoke_config
    for setting in ({"MaximumRetryAttempts": 3}, {"MaximumEventAgeInSeconds": 21601}):
        code, _ = error_code(lambda setting=setting: put(FunctionName=function.name, **setting))
        assert code in ("ValidationException", "InvalidParameterValueException")


@documented(CONFIG)
def test_a_configuration_is_replaced(workspace: Workspace, queue: Queue) -> None:
    """If a configuration already exists for a function, version, or alias, PutFunctionEventInvokeConfig overwrites
    it: settings that it does not name are removed."""
    function = function_with(workspace, queue, MaximumRetryAttempts=1)
    function.client.put_function_event_invoke_config(FunctionName=function.name, MaximumEventAgeInSeconds=60)
    found = function.client.get_function_event_invoke_config(FunctionName=function.name)
    assert found["MaximumEventAgeInSeconds"] == 60 and found.get("MaximumRetryAttempts") != 1


@documented(ERRORS)
def test_a_throttled_event_waits(workspace: Workspace, queue: Queue) -> None:
    """For throttling errors, Lambda returns the event to the queue and attempts to run the function again, for up to
    6 hours by default; the retry interval increases exponentially from 1 second."""
    function = function_with(workspace, queue, MaximumRetryAttempts=0)
    function.client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    assert function.invoke({"do": "fail_and_tell", "queue": queue.url}, InvocationType="Event")["StatusCode"] == 202
    time.sleep(1)
    assert queue.receive() == []
    function.client.delete_function_concurrency(FunctionName=function.name)
    workspace.wait(queue.receive, "the event runs", 30)


@documented(RECORDS)
def test_a_failed_event_is_recorded(workspace: Workspace, queue: Queue) -> None:
    """On failure, Lambda sends a record with the request's and the response's context and payload to the destination;
    its condition is RetriesExhausted."""
    places = {"OnFailure": {"Destination": queue.arn}}
    function = function_with(workspace, queue, MaximumRetryAttempts=0, DestinationConfig=places)
    function.invoke({"do": "raise", "n": 1}, InvocationType="Event")
    record = json.loads(workspace.wait(queue.receive, "a record", 30)[0])
    context = record["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("RetriesExhausted", 1)
    assert record["requestPayload"] == {"do": "raise", "n": 1}
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorType"] == "ValueError"


@documented(RECORDS)
def test_a_successful_event_is_recorded_on_success_only(workspace: Workspace, queue: Queue) -> None:
    """On success, the record goes to the on-success destination, with the condition Success and the response."""
    places = {"OnSuccess": {"Destination": queue.arn}}
    function = function_with(workspace, queue, DestinationConfig=places)
    function.invoke({"n": 1}, InvocationType="Event")
    record = json.loads(workspace.wait(queue.receive, "a record", 30)[0])
    assert (record["requestContext"]["condition"], record["responsePayload"]) == ("Success", {"n": 1})


@documented(RECURSION)
def test_a_recursive_loop_is_stopped(workspace: Workspace, queue: Queue) -> None:
    """If your function is invoked approximately 16 times in the same chain of requests, then Lambda automatically stops
    the next function invocation in that request chain."""
    function = function_with(workspace, queue, MaximumRetryAttempts=0)
    function.invoke({"do": "recurse", "queue": queue.url, "depth": 1}, InvocationType="Event")
    workspace.wait(lambda: len(queue.receive()) >= 15, "fifteen invocations", 60)
    time.sleep(5)
    assert 15 <= len(queue.receive()) <= 17


@documented(RECURSION)
def test_recursive_loops_are_terminated_by_default(workspace: Workspace, queue: Queue) -> None:
    """By default, Lambda sets your function's configuration to Terminate; it can be set to Allow."""
    function = function_with(workspace, queue)
    client = function.client
    assert client.get_function_recursion_config(FunctionName=function.name)["RecursiveLoop"] == "Terminate"
    client.put_function_recursion_config(FunctionName=function.name, RecursiveLoop="Allow")
    assert client.get_function_recursion_config(FunctionName=function.name)["RecursiveLoop"] == "Allow"
