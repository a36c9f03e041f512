"""Lambda: asynchronous invocations, their retries and destinations, and recursive loops."""

import json
import time
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

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
    with pytest.raises(ClientError) as refused:
        function.invoke({"x": "x" * (1024 * 1024 + 1024)}, InvocationType="Event")
    assert refused.value.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 413


@documented(ERRORS, minutes=5)
def test_an_error_is_retried_twice(workspace: Workspace, queue: Queue) -> None:
    """If the function returns an error, by default Lambda attempts to run it two more times, with a one-minute wait
    between the first two attempts, and two minutes between the second and third attempts."""
    function = function_with(workspace, queue)
    function.invoke({"do": "fail_and_tell", "queue": queue.url}, InvocationType="Event")
    workspace.wait(lambda: len(queue.receive()) >= 3, "three attempts", 30)
    time.sleep(3 * workspace.target.patience)
    assert len(queue.receive()) == 3


@documented(CONFIG, minutes=2)
def test_retries_can_be_switched_off(workspace: Workspace, queue: Queue) -> None:
    """MaximumRetryAttempts: the maximum number of times to retry when the function returns an error. Minimum value of
    0."""
    function = function_with(workspace, queue, MaximumRetryAttempts=0)
    function.invoke({"do": "fail_and_tell", "queue": queue.url}, InvocationType="Event")
    workspace.wait(queue.receive, "one attempt", 20)
    time.sleep(4 * workspace.target.patience)
    assert len(queue.receive()) == 1


@documented(CONFIG)
def test_retries_and_age_have_bounds(workspace: Workspace, queue: Queue) -> None:
    """MaximumRetryAttempts: 0 to 2. MaximumEventAgeInSeconds: minimum value of 60, maximum value of 21600."""
    function = function_with(workspace, queue)
    unchecked = Config(parameter_validation=False)
    put = workspace.client("lambda", config=unchecked).put_function_event_invoke_config
    ages = ({"MaximumEventAgeInSeconds": seconds} for seconds in (59, 21601))
    for setting in ({"MaximumRetryAttempts": 3}, *ages):
        code, _ = error_code(lambda setting=setting: put(FunctionName=function.name, **setting))
        assert code in ("ValidationException", "InvalidParameterValueException")


@documented(CONFIG)
def test_a_configuration_is_replaced(workspace: Workspace, queue: Queue) -> None:
    """If a configuration already exists for a function, version, or alias, this operation overwrites it. If you exclude
    any settings, they are removed."""
    function = function_with(workspace, queue, MaximumRetryAttempts=1)
    function.client.put_function_event_invoke_config(FunctionName=function.name, MaximumEventAgeInSeconds=60)
    found = function.client.get_function_event_invoke_config(FunctionName=function.name)
    assert found["MaximumEventAgeInSeconds"] == 60 and found.get("MaximumRetryAttempts") != 1


@documented(ERRORS)
def test_a_throttled_event_waits(workspace: Workspace, queue: Queue) -> None:
    """If the function doesn't have enough concurrency available to process all events, for throttling errors (429)
    Lambda returns the event to the queue and attempts to run the function again for up to 6 hours by default."""
    function = function_with(workspace, queue, MaximumRetryAttempts=0)
    function.client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=1)
    busy = {"do": "sleep", "seconds": 4}
    assert function.invoke(busy, InvocationType="Event")["StatusCode"] == 202
    time.sleep(1.5)
    assert function.invoke({"do": "fail_and_tell", "queue": queue.url}, InvocationType="Event")["StatusCode"] == 202
    time.sleep(1)
    assert queue.receive() == []
    workspace.wait(queue.receive, "the event runs", 30)


@documented(RECORDS)
def test_events_at_zero_concurrency_go_to_the_destination(workspace: Workspace, queue: Queue) -> None:
    """When you set reserved concurrency to zero for an asynchronously invoked function, Lambda begins sending new
    events to the on-failure event destination, without any retries. To process them, you must consume them from
    there."""
    function = function_with(workspace, queue, DestinationConfig={"OnFailure": {"Destination": queue.arn}})
    function.client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    assert function.invoke({"n": 1}, InvocationType="Event")["StatusCode"] == 202
    record = json.loads(workspace.wait(queue.receive, "a record", 30)[0])
    assert record["requestPayload"] == {"n": 1}
    function.client.delete_function_concurrency(FunctionName=function.name)
    time.sleep(2 * workspace.target.patience)
    assert len(queue.receive()) == 1


@documented(RECORDS, minutes=3)
def test_an_event_that_is_too_old_is_recorded(workspace: Workspace, queue: Queue) -> None:
    """On failure: send a record when the event fails all processing attempts or exceeds the maximum age."""
    places = {"OnFailure": {"Destination": queue.arn}}
    function = function_with(workspace, queue, MaximumEventAgeInSeconds=60, DestinationConfig=places)
    client = function.client
    client.update_function_configuration(FunctionName=function.name, Timeout=120)
    client.get_waiter("function_updated_v2").wait(FunctionName=function.name)
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=1)
    seconds = {"account": 100}.get(workspace.target.name, 4)  # longer than the event may wait
    function.invoke({"do": "sleep", "seconds": seconds}, InvocationType="Event")
    time.sleep(1.5)
    function.invoke({"n": 1}, InvocationType="Event")
    record = json.loads(workspace.wait(queue.receive, "a record", 60)[0])
    assert record["requestPayload"] == {"n": 1}


@documented(RECORDS)
def test_a_failed_event_is_recorded(workspace: Workspace, queue: Queue) -> None:
    """When an event fails all processing attempts, Lambda sends an invocation record to the destination. In the example
    record, the condition is RetriesExhausted and the function error is Unhandled; it has request and response."""
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
    """On success: send a record when the function successfully processes an asynchronous invocation."""
    places = {"OnSuccess": {"Destination": queue.arn}}
    function = function_with(workspace, queue, DestinationConfig=places)
    function.invoke({"n": 1}, InvocationType="Event")
    record = json.loads(workspace.wait(queue.receive, "a record", 30)[0])
    assert (record["requestPayload"], record["responsePayload"]) == ({"n": 1}, {"n": 1})


@documented(RECURSION)
def test_a_recursive_loop_is_stopped(workspace: Workspace, queue: Queue) -> None:
    """If your function is invoked approximately 16 times in the same chain of requests, then Lambda automatically stops
    the next function invocation in that request chain."""
    function = function_with(workspace, queue, MaximumRetryAttempts=0)
    function.invoke({"do": "recurse", "queue": queue.url, "depth": 1}, InvocationType="Event")
    workspace.wait(lambda: len(queue.receive()) >= 15, "fifteen invocations", 60)
    time.sleep(5)
    assert 15 <= len(queue.receive()) <= 17


@documented("https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionRecursionConfig.html")
def test_recursive_loops_are_terminated_by_default(workspace: Workspace, queue: Queue) -> None:
    """By default, Lambda sets your function's configuration to Terminate. If you set it to Allow, Lambda doesn't take
    any action when it detects your function being invoked as part of a recursive loop."""
    function = function_with(workspace, queue)
    client = function.client
    assert client.get_function_recursion_config(FunctionName=function.name)["RecursiveLoop"] == "Terminate"
    client.put_function_recursion_config(FunctionName=function.name, RecursiveLoop="Allow")
    assert client.get_function_recursion_config(FunctionName=function.name)["RecursiveLoop"] == "Allow"
