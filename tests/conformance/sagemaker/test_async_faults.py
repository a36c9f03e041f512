"""An asynchronous endpoint when something is taken away: rights, topics, buckets, instances, the endpoint itself."""

import json
from collections import Counter
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, policy
from tests.conformance.endpoints import GENEROUS, AsyncEndpoint

DG = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
PREREQUISITES = DG + "async-inference-create-endpoint-prerequisites.html"
MONITOR = DG + "async-inference-monitor.html"
AUTOSCALE = DG + "async-inference-autoscale.html"
DELETE = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DeleteEndpoint.html"


@pytest.fixture(scope="module")
def victim(workspace: Workspace) -> AsyncEndpoint:
    """An endpoint of this file; its tests harm it one after the other, in any order, and put it right again."""
    made = AsyncEndpoint(workspace, environment=GENEROUS)
    made.create()
    return made


def scale(endpoint: AsyncEndpoint, count: int) -> None:
    endpoint.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint.name,
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": count}],
    )
    endpoint.await_status("InService")


def announced(endpoint: AsyncEndpoint, answers: list[dict[str, Any]], seconds: float) -> Counter[tuple[str, str]]:
    """Wait for a message about each request; return how often each came, by ID and status."""
    wanted, seen = {answer["InferenceId"] for answer in answers}, Counter[tuple[str, str]]()

    def all_arrived() -> bool:
        for queue in endpoint.queues.values():
            for envelope in endpoint.workspace.messages(queue):
                message = json.loads(envelope["Message"])
                if message.get("inferenceId") in wanted:
                    seen[message["inferenceId"], message["invocationStatus"]] += 1
        return wanted == {identifier for identifier, _ in seen}

    endpoint.workspace.wait(all_arrived, "a message about each request", seconds)
    return seen


@documented(AUTOSCALE)
def test_50_mixed_requests_from_zero_are_each_answered_once(victim: AsyncEndpoint) -> None:
    """Requests that are received when there are zero instances are queued and processed once the endpoint scales up."""
    scale(victim, 0)
    kinds: list[tuple[dict[str, Any], str]] = [
        ({}, "Completed"),
        ({"status": 400}, "Failed"),
        ({"size": 50_000}, "Completed"),
        ({"status": 500}, "Failed"),
        ({"sleep": 0.1}, "Completed"),
    ]
    expected: Counter[tuple[str, str]] = Counter()
    answers: list[dict[str, Any]] = []
    for number in range(50):
        wanted, status = kinds[number % 5]
        if number % 2:
            answers.append(victim.invoke(wanted))
        else:
            answers.append(victim.invoke_location(f"in/{number}", json.dumps(wanted).encode()))
        expected[answers[-1]["InferenceId"], status] += 1
    scale(victim, 1)
    assert announced(victim, answers, 90) == expected
    for answer in answers:
        done = expected[answer["InferenceId"], "Completed"] == 1
        assert (victim.object(answer["OutputLocation"]) is not None) == done
        assert (victim.object(answer["FailureLocation"]) is not None) == (not done)


@documented(PREREQUISITES)
def test_a_role_without_put_object_fails_the_request(victim: AsyncEndpoint) -> None:
    """Asynchronous Inference needs s3:PutObject to write to your bucket with the execution role."""
    iam, role = victim.workspace.client("iam"), victim.role.rpartition("/")[2]
    kept = [statement for statement in victim.statements() if "s3:PutObject" not in statement["Action"]]
    iam.put_role_policy(RoleName=role, PolicyName="statements", PolicyDocument=policy(kept))
    try:
        message = victim.await_message("error", victim.invoke({})["InferenceId"])
    finally:
        iam.put_role_policy(RoleName=role, PolicyName="statements", PolicyDocument=policy(victim.statements()))
    assert message["invocationStatus"] == "Failed"
    assert victim.await_object(victim.invoke({})["OutputLocation"])


@documented(PREREQUISITES)
def test_a_role_without_get_object_fails_the_request(victim: AsyncEndpoint) -> None:
    """Asynchronous Inference needs s3:GetObject to read your input with the execution role."""
    iam, role = victim.workspace.client("iam"), victim.role.rpartition("/")[2]
    kept = [statement for statement in victim.statements() if "s3:GetObject" not in statement["Action"]]
    iam.put_role_policy(RoleName=role, PolicyName="statements", PolicyDocument=policy(kept))
    try:
        answer = victim.invoke_location("in/unreadable", b"{}")
        message = victim.await_message("error", answer["InferenceId"])
    finally:
        iam.put_role_policy(RoleName=role, PolicyName="statements", PolicyDocument=policy(victim.statements()))
    assert message["invocationStatus"] == "Failed"


@documented(MONITOR)
def test_an_absent_input_fails_the_request(victim: AsyncEndpoint) -> None:
    """RequestDownloadFailures: an inference failure due to an issue downloading the request from Amazon S3."""
    location = f"s3://{victim.bucket}/in/absent"
    answer = victim.runtime.invoke_endpoint_async(EndpointName=victim.name, InputLocation=location)
    assert victim.await_message("error", answer["InferenceId"])["invocationStatus"] == "Failed"


@documented(MONITOR)
def test_a_deleted_topic_costs_the_message_only(workspace: Workspace) -> None:
    """NotificationFailures: when an issue occurs publishing notifications."""
    endpoint = AsyncEndpoint(workspace)
    endpoint.create()
    workspace.client("sns").delete_topic(TopicArn=endpoint.topics["success"])
    assert endpoint.await_object(endpoint.invoke({})["OutputLocation"])
    assert endpoint.describe()["EndpointStatus"] == "InService"


@documented(DELETE, unknown="AWS does not say what becomes of the queue; here each request that waits fails")
def test_requests_of_a_deleted_endpoint_fail(workspace: Workspace) -> None:
    """DeleteEndpoint frees up all of the resources that were deployed when the endpoint was created: its queue."""
    endpoint = AsyncEndpoint(workspace)
    endpoint.create()
    scale(endpoint, 0)
    answers = [endpoint.invoke({}) for _ in range(3)]
    endpoint.delete()
    seen = announced(endpoint, answers, 30)
    assert seen == Counter({(answer["InferenceId"], "Failed"): 1 for answer in answers})


@documented(MONITOR)
def test_a_deleted_bucket_fails_the_request(workspace: Workspace) -> None:
    """ResponseUploadFailures: an inference failure due to an issue uploading the response to Amazon S3."""
    endpoint = AsyncEndpoint(workspace)
    gone = workspace.bucket()
    path = f"s3://{gone}/out/"
    notification = {"SuccessTopic": endpoint.topics["success"], "ErrorTopic": endpoint.topics["error"]}
    endpoint.create(endpoint.configure(OutputConfig={"S3OutputPath": path, "NotificationConfig": notification}))
    endpoint.s3.delete_bucket(Bucket=gone)
    message = endpoint.await_message("error", endpoint.invoke({})["InferenceId"])
    assert message["invocationStatus"] == "Failed"
