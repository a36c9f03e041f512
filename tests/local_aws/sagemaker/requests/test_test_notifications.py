"""The messages with which SageMaker checks that an endpoint's role may publish to its topics."""

import json
from types import SimpleNamespace
from typing import Any, cast

from conformance.behaviour import documented
from local_aws.emulator import clients
from local_aws.emulator.process import LocalAws
from local_aws.walkthrough.client import Invocation, NotificationQueue

CREATE = "https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-create-endpoint.html"
NOTIFICATION = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_AsyncInferenceNotificationConfig.html"

# Developer guide, "Create Endpoint" of asynchronous inference.
DOCUMENTED = {"eventVersion": "1.0", "eventSource": "aws:sagemaker", "eventName": "TestNotification"}


def received(endpoint: Any) -> list[dict[str, Any]]:
    """Return the next two test notifications, one of each topic."""
    return sorted(endpoint.messages(2, test=True), key=lambda message: message["topic"])


BOTH = [DOCUMENTED | {"topic": topic} for topic in ("error", "success")]


@documented(CREATE)
def test_creation_update_and_each_capacity_change_send_one_to_both_topics(endpoint: Any) -> None:
    """Test notifications are sent after CreateEndpoint, UpdateEndpoint and UpdateEndpointWeightsAndCapacities."""
    assert received(endpoint) == BOTH
    for count in (2, 0):
        endpoint.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=endpoint.name,
            DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": count}],
        )
        assert received(endpoint) == BOTH
        endpoint.await_status("InService")
    endpoint.sagemaker.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=endpoint.configure("config2"))
    assert received(endpoint) == BOTH


@documented(CREATE, unknown="AWS does not say what follows if not; here, as in public reports, the endpoint fails")
def test_endpoint_fails_before_it_starts_an_instance_if_a_topic_refuses(stack: Any, world: Any) -> None:
    """The test notification lets SageMaker check that you have the required permissions."""
    clients.client("sns").delete_topic(TopicArn=stack.topics["ErrorTopic"])
    stack.create_endpoint(stack.configure())
    reason = stack.await_status("Failed")["FailureReason"]
    assert f'has "sns:Publish" permissions for topic "{stack.topics["ErrorTopic"]}"' in reason
    assert world.containers == []


@documented(NOTIFICATION)
def test_endpoint_without_topics_sends_none(stack: Any) -> None:
    """If no topic is provided, no notification is sent."""
    stack.topics = {}
    stack.create_endpoint(stack.configure())
    stack.await_status("InService")
    assert "Messages" not in stack.sqs.receive_message(QueueUrl=stack.queue)


def test_walkthrough_ignores_them(stack: Any) -> None:
    aws = cast(LocalAws, SimpleNamespace(client=clients.client))
    success, error = stack.topics["SuccessTopic"], stack.topics["ErrorTopic"]
    queue = NotificationQueue(aws, {"SuccessTopicArn": success, "ErrorTopicArn": error})
    try:
        result = {"eventName": "InferenceResult", "inferenceId": "mine", "invocationStatus": "Completed"}
        for message in (DOCUMENTED, result):
            clients.client("sns").publish(TopicArn=success, Message=json.dumps(message))
        assert queue.wait(Invocation("mine", "s3://o", "s3://f"), "Completed") == result
    finally:
        queue.close()
