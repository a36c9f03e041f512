"""SNS topics and subscriptions as this stack uses them."""

import json
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, error_code

API = "https://docs.aws.amazon.com/sns/latest/api"
GUIDE = "https://docs.aws.amazon.com/sns/latest/dg"


@pytest.fixture(scope="module")
def sns(workspace: Workspace) -> Any:
    """An administrator's client."""
    return workspace.client("sns")


@pytest.fixture(scope="module")
def topic(workspace: Workspace, sns: Any) -> str:
    """A topic without subscriptions."""
    name = workspace.name("topic")
    arn: str = sns.create_topic(Name=name, Tags=workspace.tags)["TopicArn"]
    workspace.later(f"topic {name}", lambda: sns.delete_topic(TopicArn=arn))
    return arn


@documented(f"{API}/API_Publish.html")
def test_a_message_has_at_most_256_kb(sns: Any, topic: str) -> None:
    """Messages are at most 256 KB in size: 262,144 bytes."""
    assert sns.publish(TopicArn=topic, Message="x" * 262_144)["MessageId"]
    assert error_code(lambda: sns.publish(TopicArn=topic, Message="x" * 262_145))[0] == "InvalidParameter"


@documented(f"{API}/API_Publish.html")
def test_a_subject_has_at_most_100_characters(sns: Any, topic: str) -> None:
    """A Subject must be less than or equal to 100 characters long."""
    assert sns.publish(TopicArn=topic, Message="m", Subject="x" * 100)["MessageId"]
    assert error_code(lambda: sns.publish(TopicArn=topic, Message="m", Subject="x" * 101))[0] == "InvalidParameter"


@documented(f"{API}/API_Publish.html")
def test_an_absent_topic_is_not_found(sns: Any, topic: str) -> None:
    """NotFound: the requested resource does not exist."""
    assert error_code(lambda: sns.publish(TopicArn=f"{topic}-absent", Message="m"))[0] == "NotFound"


@documented(f"{API}/API_CreateTopic.html")
def test_creating_a_topic_is_idempotent(workspace: Workspace, sns: Any, topic: str) -> None:
    """If the requester already owns a topic with the name, its ARN is returned without creating a new topic."""
    assert sns.create_topic(Name=topic.rpartition(":")[2], Tags=workspace.tags)["TopicArn"] == topic


@documented(f"{GUIDE}/sns-large-payload-raw-message-delivery.html")
def test_raw_delivery_has_no_envelope(workspace: Workspace, sns: Any) -> None:
    """With raw message delivery, the endpoint receives the published message without SNS's JSON metadata."""
    arn, queue = workspace.topic_with_queue()
    [subscription] = sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    sns.set_subscription_attributes(
        SubscriptionArn=subscription["SubscriptionArn"], AttributeName="RawMessageDelivery", AttributeValue="true"
    )
    sns.publish(TopicArn=arn, Message=json.dumps({"raw": True}))
    assert workspace.wait(lambda: received(workspace, queue), "a message") == ['{"raw": true}']


def received(workspace: Workspace, queue: str) -> list[str]:
    found = workspace.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=0).get("Messages", [])
    return [message["Body"] for message in found]
