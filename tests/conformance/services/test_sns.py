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
    """By default, a message can be at most 256 KiB in size: 262,144 bytes, not characters. Else: InvalidParameter."""
    assert sns.publish(TopicArn=topic, Message="x" * 262_144)["MessageId"]
    for message in ("x" * 262_145, "ü" * 131_073):
        assert error_code(lambda text=message: sns.publish(TopicArn=topic, Message=text))[0] == "InvalidParameter"


@documented(f"{API}/API_Publish.html")
def test_attributes_count_towards_the_size(sns: Any, topic: str) -> None:
    """SNS validates the combined size of the message body and message attributes."""
    attributes = {"a": {"DataType": "String", "StringValue": "v" * 100}}
    put = {"TopicArn": topic, "Message": "x" * 262_100, "MessageAttributes": attributes}
    assert error_code(lambda: sns.publish(**put))[0] == "InvalidParameter"


@documented(f"{API}/API_Publish.html")
def test_a_subject_has_less_than_100_characters(sns: Any, topic: str) -> None:
    """Subjects must be UTF-8 text with no line breaks or control characters, and less than 100 characters long."""
    assert sns.publish(TopicArn=topic, Message="m", Subject="x" * 99)["MessageId"]
    for subject in ("x" * 101, "two\nlines", "bell\a"):
        put = {"TopicArn": topic, "Message": "m", "Subject": subject}
        assert error_code(lambda put=put: sns.publish(**put))[0] == "InvalidParameter"


@documented(f"{API}/API_Publish.html")
def test_an_absent_topic_is_not_found(sns: Any, topic: str) -> None:
    """NotFound: indicates that the requested resource does not exist."""
    assert error_code(lambda: sns.publish(TopicArn=f"{topic}-absent", Message="m"))[0] == "NotFound"


@documented(f"{API}/API_CreateTopic.html")
def test_creating_a_topic_is_idempotent(workspace: Workspace, sns: Any, topic: str) -> None:
    """If the requester already owns a topic with the name, its ARN is returned without creating a new topic."""
    assert sns.create_topic(Name=topic.rpartition(":")[2], Tags=workspace.tags)["TopicArn"] == topic


@documented(f"{GUIDE}/sns-large-payload-raw-message-delivery.html")
def test_raw_delivery_has_no_envelope(workspace: Workspace, sns: Any) -> None:
    """With raw message delivery, any SNS metadata is stripped from the published message and it is sent as is."""
    arn, queue = workspace.topic_with_queue()
    [subscription] = sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    sns.set_subscription_attributes(
        SubscriptionArn=subscription["SubscriptionArn"], AttributeName="RawMessageDelivery", AttributeValue="true"
    )
    sns.publish(TopicArn=arn, Message=json.dumps({"raw": True}))
    assert workspace.wait(lambda: received(workspace, queue), "a message") == ['{"raw": true}']


@documented(f"{GUIDE}/sns-message-filtering.html")
@pytest.mark.parametrize("scope", ["MessageAttributes", "MessageBody"])
def test_a_filter_policy_selects_messages(workspace: Workspace, sns: Any, scope: str) -> None:
    """SNS compares attributes or body to the subscription's filter policy; others aren't sent to that subscriber."""
    arn, queue = workspace.topic_with_queue()
    [subscription] = sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    settings = {"FilterPolicyScope": scope, "FilterPolicy": json.dumps({"event": ["order_placed"]})}
    for name, value in settings.items():
        sns.set_subscription_attributes(
            SubscriptionArn=subscription["SubscriptionArn"], AttributeName=name, AttributeValue=value
        )
    for event in ("order_cancelled", "order_placed"):
        attributes = {"event": {"DataType": "String", "StringValue": event}}
        sns.publish(TopicArn=arn, Message=json.dumps({"event": event}), MessageAttributes=attributes)
    found = workspace.wait(lambda: workspace.messages(queue), "a message")
    assert [json.loads(item["Message"])["event"] for item in found] == ["order_placed"]


@documented(f"{GUIDE}/subscribe-sqs-queue-to-sns-topic.html")
def test_a_queue_must_let_sns_send(workspace: Workspace, sns: Any) -> None:
    """To send messages to a queue, the topic needs the permission sqs:SendMessage in the queue's policy."""
    arn, queue = workspace.topic_with_queue()
    _, witness = workspace.topic_with_queue()
    sqs = workspace.client("sqs")
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": ""})
    sns.publish(TopicArn=arn, Message="m")
    sqs.send_message(QueueUrl=witness, MessageBody='{"witness": true}')
    assert workspace.wait(lambda: workspace.messages(witness), "the witness") == [{"witness": True}]
    assert workspace.messages(queue) == []


def received(workspace: Workspace, queue: str) -> list[str]:
    found = workspace.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=0).get("Messages", [])
    return [message["Body"] for message in found]
