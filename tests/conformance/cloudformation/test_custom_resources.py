"""Lambda-backed custom resources: requests, answers, replacement, failures."""

import json
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, allow
from tests.conformance.functions import Function
from tests.conformance.stacks import BROKEN, Stack

REQUESTS = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requests.html"
RESPONSES = "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html"
RESOURCE = (
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/"
    "aws-resource-cloudformation-customresource.html"
)

# Send each request to a queue, and answer as its properties say.
SOURCE = """
import boto3, json, os, urllib.request

def handler(event, context):
    boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=json.dumps(event))
    asked = event["ResourceProperties"]
    if event["RequestType"] in asked.get("Silent", ""):
        return
    failed = event["RequestType"] in asked.get("FailOn", "")
    answer = {key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")}
    answer["PhysicalResourceId"] = asked.get("Id") or event.get("PhysicalResourceId", "first")
    answer["NoEcho"] = asked.get("NoEcho") == "true"
    answer["Data"] = {"Echo": "x" * (int(asked.get("Size", "1")) if event["RequestType"] == "Create" else 1)}
    answer |= {"Status": "FAILED", "Reason": "asked to fail"} if failed else {"Status": "SUCCESS"}
    request = urllib.request.Request(
        event["ResponseURL"], data=json.dumps(answer).encode(), headers={"Content-Type": ""}, method="PUT"
    )
    urllib.request.urlopen(request).read()
"""


class Provider:
    """A function behind custom resources; `requests` are those that it received, in order."""

    def __init__(self, workspace: Workspace) -> None:
        self.sqs, name = workspace.client("sqs"), workspace.name("requests")
        self.url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        workspace.later(name, lambda: self.sqs.delete_queue(QueueUrl=self.url))
        arn = f"arn:aws:sqs:{workspace.target.region}:{workspace.target.account_id}:{name}"
        variables = {"Variables": {"QUEUE": self.url}}
        statement = allow("sqs:SendMessage", resource=arn)
        self.arn = Function(workspace, statement, source=SOURCE, Environment=variables).arn
        self._requests: list[dict[str, Any]] = []

    def resource(self, **properties: Any) -> dict[str, Any]:
        """Return a custom resource with these properties."""
        return {"Type": "Custom::Thing", "Properties": {"ServiceToken": self.arn, **properties}}

    def requests(self, stack: Stack) -> list[dict[str, Any]]:
        """Return the requests of a stack so far; queues may swap messages, so their order means nothing."""
        while found := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in found:
                self._requests.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return [request for request in self._requests if request["StackId"] == stack.id]

    def kinds(self, stack: Stack) -> list[tuple[str, str]]:
        """Return each request's type and physical id, sorted."""
        return sorted((item["RequestType"], item.get("PhysicalResourceId", "")) for item in self.requests(stack))


@pytest.fixture(scope="module")
def provider(workspace: Workspace) -> Provider:
    """One function for this file."""
    return Provider(workspace)


@pytest.fixture
def stack(workspace: Workspace, provider: Provider) -> Stack:
    """A stack that does not exist yet; it is removed before the provider."""
    return Stack(workspace)


@documented(REQUESTS)
def test_a_create_request_has_these_fields(stack: Stack, provider: Provider) -> None:
    """Custom resource provider request fields: RequestType, ResponseURL, StackId, RequestId, ResourceType,
    LogicalResourceId and ResourceProperties. PhysicalResourceId is never sent with Create."""
    stack.create({"Thing": provider.resource(Name="a")})
    (request,) = provider.requests(stack)
    assert (request["RequestType"], request["ResourceType"]) == ("Create", "Custom::Thing")
    assert (request["LogicalResourceId"], request["StackId"]) == ("Thing", stack.id)
    assert request["ResponseURL"].startswith("https://") and request["RequestId"]
    assert request["ResourceProperties"] == {"ServiceToken": provider.arn, "Name": "a"}
    assert "PhysicalResourceId" not in request


@documented(RESPONSES)
def test_data_and_id_come_from_the_answer(stack: Stack, provider: Provider) -> None:
    """Data: the custom resource provider-defined name-value pairs to send with the response. You can access the values
    provided here by name in the template with Fn::GetAtt."""
    outputs = {"Data": {"Value": {"Fn::GetAtt": ["Thing", "Echo"]}}, "Id": {"Value": {"Ref": "Thing"}}}
    stack.create({"Thing": provider.resource(Id="mine")}, template={"Outputs": outputs})
    assert stack.outputs() == {"Data": "x", "Id": "mine"}


@documented(RESPONSES)
def test_no_echo_masks_the_data(stack: Stack, provider: Provider) -> None:
    """NoEcho: indicates whether to mask the output of the custom resource when retrieved by using the Fn::GetAtt
    function. If set to true, all returned values are masked with asterisks."""
    outputs = {"Data": {"Value": {"Fn::Sub": "${Thing.Echo}"}}, "Id": {"Value": {"Ref": "Thing"}}}
    stack.create({"Thing": provider.resource(Id="mine", NoEcho=True)}, template={"Outputs": outputs})
    assert set(stack.outputs()["Data"]) == {"*"} and stack.outputs()["Id"] == "mine"


@documented(RESPONSES)
def test_a_response_has_a_limit(stack: Stack, provider: Provider) -> None:
    """The total size of the response body can't exceed 4096 bytes."""
    assert stack.create({"Thing": provider.resource(Size="4096")}) == "ROLLBACK_COMPLETE"


@documented(RESPONSES)
def test_a_failure_has_its_reason(stack: Stack, provider: Provider) -> None:
    """Reason describes the reason for a failure response."""
    assert stack.create({"Thing": provider.resource(FailOn="Create", Id="half")}) == "ROLLBACK_COMPLETE"
    reasons = [reason for name, status, reason in stack.events() if (name, status) == ("Thing", "CREATE_FAILED")]
    assert "asked to fail" in reasons[0]


@documented(
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes-delete.html",
    unknown="AWS does not say whether a failed creation is followed by a Delete; in public reports, as here, it is",
)
def test_a_failed_creation_is_deleted_by_its_id(stack: Stack, provider: Provider) -> None:
    """PhysicalResourceId: always sent with Update and Delete requests."""
    stack.create({"Thing": provider.resource(FailOn="Create", Id="half")})
    assert provider.kinds(stack) == [("Create", ""), ("Delete", "half")]


@documented("https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes-update.html")
def test_an_update_request_has_the_old_properties(stack: Stack, provider: Provider) -> None:
    """OldResourceProperties: used only for Update requests. Contains the resource properties that were declared
    previous to the update request."""
    stack.create({"Thing": provider.resource(Name="a", Id="mine")})
    stack.update({"Thing": provider.resource(Name="b", Id="mine")})
    (request,) = [item for item in provider.requests(stack) if item["RequestType"] == "Update"]
    assert request["PhysicalResourceId"] == "mine"
    assert request["OldResourceProperties"]["Name"] == "a" and request["ResourceProperties"]["Name"] == "b"


@documented(RESPONSES)
def test_another_id_is_a_replacement(stack: Stack, provider: Provider) -> None:
    """If the value returned for PhysicalResourceId is different, CloudFormation recognizes the update as a replacement
    and sends a delete request to the old resource."""
    stack.create({"Thing": provider.resource(Id="old")})
    assert stack.update({"Thing": provider.resource(Id="new")}) == "UPDATE_COMPLETE"
    assert provider.kinds(stack) == [("Create", ""), ("Delete", "old"), ("Update", "old")]


@documented(RESPONSES)
def test_the_same_id_is_an_update(stack: Stack, provider: Provider) -> None:
    """If the value returned for PhysicalResourceId is the same, it is considered a normal update."""
    stack.create({"Thing": provider.resource(Id="same", Name="a")})
    stack.update({"Thing": provider.resource(Id="same", Name="b")})
    assert provider.kinds(stack) == [("Create", ""), ("Update", "same")]


@documented("https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes-update.html")
def test_unchanged_properties_send_nothing(stack: Stack, provider: Provider) -> None:
    """Custom resource provider requests with RequestType set to Update are sent when there's any change to the
    properties of the custom resource within the template."""
    stack.create({"Thing": provider.resource(Id="same")})
    stack.update({"Thing": provider.resource(Id="same"), "Other": provider.resource(Id="other")})
    assert [kind for kind, _ in provider.kinds(stack)] == ["Create", "Create"]


@documented(
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes-update.html",
    unknown="AWS does not say what a provider receives when an update is rolled back; here, an Update back",
)
def test_a_rolled_back_update_is_another_update(stack: Stack, provider: Provider) -> None:
    """A stack's update that is rolled back sends the custom resource an Update with the previous properties."""
    stack.create({"Thing": provider.resource(Id="same", Name="a")})
    broken = {**BROKEN, "DependsOn": "Thing"}
    assert stack.update({"Thing": provider.resource(Id="same", Name="b"), "B": broken}) == "UPDATE_ROLLBACK_COMPLETE"
    names = [item["ResourceProperties"]["Name"] for item in provider.requests(stack) if item["RequestType"] == "Update"]
    assert sorted(names) == ["a", "b"]


@documented(RESOURCE)
def test_a_service_timeout_ends_the_wait(stack: Stack, provider: Provider) -> None:
    """ServiceTimeout: the maximum time, in seconds, that can elapse before a custom resource operation times out."""
    silent = provider.resource(ServiceTimeout=20, Silent="Create", Id="silent")
    assert stack.create({"Thing": silent}) == "ROLLBACK_COMPLETE"
    assert "CREATE_FAILED" in stack.steps("Thing")


@documented(
    REQUESTS, unknown="AWS says only that properties are sent verbatim; in public reports, scalars become strings"
)
def test_properties_are_strings(stack: Stack, provider: Provider) -> None:
    """All other fields in the resource properties are sent, verbatim, to the custom resource provider in the request's
    ResourceProperties field."""
    stack.create({"Thing": provider.resource(Number=1, Flag=True, List=[2, {"Deep": False}])})
    (request,) = provider.requests(stack)
    properties = request["ResourceProperties"]
    assert (properties["Number"], properties["Flag"]) == ("1", "true")
    assert properties["List"] == ["2", {"Deep": "false"}]
