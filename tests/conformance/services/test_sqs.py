"""SQS queues that are subscribed to the stack's topics: how messages are received, kept, given up, and who may."""

import json
import threading
import time
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import TAG, Workspace, allow, error_code, policy
from tests.conformance.credentials import client_with
from tests.conformance.identities import permitted

API = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference"
GUIDE = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide"
SNS = "https://docs.aws.amazon.com/sns/latest/dg"


class Queues:
    """Queues and topics of one file's tests."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.sqs, self.sns = workspace, workspace.client("sqs"), workspace.client("sns")

    def create(self, **attributes: str) -> str:
        """Create a queue; return its URL."""
        name = self.workspace.name("queue")
        url: str = self.sqs.create_queue(QueueName=name, Attributes=attributes, tags={TAG: self.workspace.prefix})[
            "QueueUrl"
        ]
        self.workspace.later(f"queue {name}", lambda: self.sqs.delete_queue(QueueUrl=url))
        return url

    def arn(self, url: str) -> str:
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def send(self, url: str, body: str = "m") -> None:
        self.sqs.send_message(QueueUrl=url, MessageBody=body)

    def receive(self, url: str, **settings: Any) -> list[dict[str, Any]]:
        settings = {"WaitTimeSeconds": 0, **settings}
        return self.sqs.receive_message(QueueUrl=url, **settings).get("Messages", [])

    def await_messages(self, url: str, **settings: Any) -> list[dict[str, Any]]:
        # 40 s: even plain moto, which gets a tenth of the time, may then show a message again after 2 s.
        return self.workspace.wait(lambda: self.receive(url, **settings), "a message", 40)

    def subscription(self, topic: str) -> str:
        [found] = self.sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        return found["SubscriptionArn"]

    def set_subscription(self, topic: str, name: str, value: str) -> None:
        self.sns.set_subscription_attributes(
            SubscriptionArn=self.subscription(topic), AttributeName=name, AttributeValue=value
        )


@pytest.fixture(scope="module")
def queues(workspace: Workspace) -> Queues:
    return Queues(workspace)


# ---- receiving ---------------------------------------------------------------------------------------------


@documented(f"{API}/API_ReceiveMessage.html")
def test_a_received_message_is_invisible_for_a_time(queues: Queues) -> None:
    """A message that is received is invisible for the visibility timeout; if it is not deleted, it is visible again."""
    url = queues.create()
    queues.send(url)
    [first] = queues.await_messages(url, VisibilityTimeout=2)
    assert queues.receive(url) == []
    [second] = queues.await_messages(url)
    assert (first["MessageId"], first["Body"]) == (second["MessageId"], second["Body"])


@documented(f"{API}/API_ReceiveMessage.html")
def test_the_visibility_timeout_is_30_seconds(queues: Queues) -> None:
    """The default visibility timeout for a queue is 30 seconds."""
    found = queues.sqs.get_queue_attributes(QueueUrl=queues.create(), AttributeNames=["VisibilityTimeout"])
    assert found["Attributes"] == {"VisibilityTimeout": "30"}


@documented(f"{API}/API_ChangeMessageVisibility.html")
def test_a_visibility_of_zero_returns_the_message(queues: Queues) -> None:
    """ChangeMessageVisibility applies immediately; the minimum is 0 seconds."""
    url = queues.create()
    queues.send(url)
    [message] = queues.await_messages(url)
    queues.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert queues.await_messages(url)


@documented(f"{API}/API_SetQueueAttributes.html")
@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        ("VisibilityTimeout", "43200", "43201"),
        ("VisibilityTimeout", "0", "a minute"),
        ("ReceiveMessageWaitTimeSeconds", "20", "21"),
        ("MessageRetentionPeriod", "60", "59"),
        ("DelaySeconds", "900", "901"),
    ],
)
def test_attributes_have_limits(queues: Queues, name: str, valid: str, invalid: str) -> None:
    """VisibilityTimeout: 0 to 43,200 s; long polling: 0 to 20 s; retention: 60 to 1,209,600 s; delay: 0 to 900 s."""
    url = queues.create(**{name: valid})
    call = queues.sqs.set_queue_attributes
    assert error_code(lambda: call(QueueUrl=url, Attributes={name: invalid}))[0] == "InvalidAttributeValue"


@documented(f"{API}/API_SetQueueAttributes.html")
def test_other_attributes_stay(queues: Queues) -> None:
    """SetQueueAttributes sets the value of the attributes that are given, such as a queue's policy, and of no other."""
    topic, url = queues.workspace.topic_with_queue()
    queues.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "10"})
    names = ["VisibilityTimeout", "Policy"]
    found = queues.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    assert found["VisibilityTimeout"] == "10"
    assert json.loads(found["Policy"])["Statement"][0]["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}


@documented(f"{GUIDE}/best-practices-setting-up-long-polling.html")
def test_long_polling_returns_once_a_message_is_there(queues: Queues) -> None:
    """With a WaitTimeSeconds above 0, the call waits for a message; if one is available, it returns sooner."""
    url = queues.create()
    sender = threading.Timer(1.0, queues.send, [url])
    began = time.monotonic()
    sender.start()
    found = queues.receive(url, WaitTimeSeconds=20)
    waited = time.monotonic() - began
    sender.join()
    assert [message["Body"] for message in found] == ["m"]
    assert 0.9 < waited < 15


@documented(f"{API}/API_ReceiveMessage.html")
def test_long_polling_without_a_message_returns_none(queues: Queues) -> None:
    """If no messages are available and the wait time expires, the call does not return a message list."""
    began = time.monotonic()
    answer = queues.sqs.receive_message(QueueUrl=queues.create(), WaitTimeSeconds=1)
    assert "Messages" not in answer
    assert time.monotonic() - began > 0.9


@documented(f"{GUIDE}/best-practices-setting-up-long-polling.html")
def test_a_poll_waits_at_most_20_seconds(queues: Queues) -> None:
    """The maximum long polling wait time is 20 seconds."""
    url = queues.create()
    assert error_code(lambda: queues.receive(url, WaitTimeSeconds=21))[0] == "InvalidParameterValue"


@documented(f"{API}/API_ReceiveMessage.html")
@pytest.mark.parametrize("count", [0, 11])
def test_a_call_returns_one_to_ten_messages(queues: Queues, count: int) -> None:
    """MaxNumberOfMessages: valid values are 1 to 10."""
    url = queues.create()
    code = error_code(lambda: queues.receive(url, MaxNumberOfMessages=count))[0]
    assert code in ("InvalidParameterValue", "ReadCountOutOfRange")


# ---- at least once -----------------------------------------------------------------------------------------


@documented(f"{GUIDE}/standard-queues.html")
def test_a_message_that_is_not_deleted_is_delivered_again(queues: Queues) -> None:
    """Standard queues ensure at-least-once delivery: what is not deleted comes again, with a higher receive count."""
    url = queues.create(VisibilityTimeout="0")
    queues.send(url)
    counts = [
        queues.await_messages(url, MessageSystemAttributeNames=["ApproximateReceiveCount"])[0]["Attributes"]
        for _ in range(3)
    ]
    assert [int(found["ApproximateReceiveCount"]) for found in counts] == [1, 2, 3]


@documented(f"{API}/API_DeleteMessage.html")
def test_each_receipt_has_a_handle_of_its_own(queues: Queues) -> None:
    """If you receive the same message more than once, you will get a different ReceiptHandle each time."""
    url = queues.create(VisibilityTimeout="0")
    queues.send(url)
    first, second = (queues.await_messages(url)[0]["ReceiptHandle"] for _ in range(2))
    assert first != second
    queues.sqs.delete_message(QueueUrl=url, ReceiptHandle=second)
    assert queues.receive(url) == []


@documented(f"{API}/API_DeleteMessage.html")
def test_a_deletion_with_an_old_handle_succeeds(queues: Queues) -> None:
    """If you use an old ReceiptHandle, the request will succeed, but the message might not be deleted."""
    url = queues.create(VisibilityTimeout="0")
    queues.send(url)
    old, new = (queues.await_messages(url)[0]["ReceiptHandle"] for _ in range(2))
    queues.sqs.delete_message(QueueUrl=url, ReceiptHandle=old)
    queues.sqs.delete_message(QueueUrl=url, ReceiptHandle=new)
    assert queues.receive(url) == []


@documented(f"{API}/API_DeleteMessage.html")
def test_an_unknown_handle_is_invalid(queues: Queues) -> None:
    """ReceiptHandleIsInvalid: the specified receipt handle isn't valid."""
    url = queues.create()
    call = queues.sqs.delete_message
    assert error_code(lambda: call(QueueUrl=url, ReceiptHandle="x"))[0] == "ReceiptHandleIsInvalid"


@documented(f"{API}/API_ReceiveMessage.html")
def test_an_absent_queue_does_not_exist(queues: Queues) -> None:
    """QueueDoesNotExist: ensure that the QueueUrl is correct and that the queue has not been deleted."""
    url = queues.create()
    code = error_code(lambda: queues.receive(f"{url}-absent"))[0]
    assert code in ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


# ---- attributes and topics ---------------------------------------------------------------------------------


@documented(f"{SNS}/sns-message-attributes.html")
def test_attributes_are_in_the_envelope(queues: Queues) -> None:
    """Message attributes are sent together with the message body: in SNS's JSON, each has a Type and a Value."""
    topic, url = queues.workspace.topic_with_queue()
    attributes = {"event": {"DataType": "String", "StringValue": "placed"}}
    queues.sns.publish(TopicArn=topic, Message="m", MessageAttributes=attributes)
    [message] = queues.await_messages(url, MessageAttributeNames=["All"])
    assert json.loads(message["Body"])["MessageAttributes"] == {"event": {"Type": "String", "Value": "placed"}}
    assert "MessageAttributes" not in message


@documented(f"{SNS}/sns-large-payload-raw-message-delivery.html")
def test_raw_messages_keep_their_attributes(queues: Queues) -> None:
    """With raw message delivery to SQS, the message attributes are those of the queue's message."""
    topic, url = queues.workspace.topic_with_queue()
    queues.set_subscription(topic, "RawMessageDelivery", "true")
    attributes = {"event": {"DataType": "String", "StringValue": "placed"}}
    queues.sns.publish(TopicArn=topic, Message="m", MessageAttributes=attributes)
    [message] = queues.await_messages(url, MessageAttributeNames=["All"])
    assert (message["Body"], message["MessageAttributes"]) == ("m", attributes)


@documented(f"{SNS}/sns-large-payload-raw-message-delivery.html")
def test_raw_delivery_can_be_disabled(queues: Queues) -> None:
    """Raw message delivery is enabled by setting RawMessageDelivery to true; with false, messages have an envelope."""
    topic, url = queues.workspace.topic_with_queue()
    queues.set_subscription(topic, "RawMessageDelivery", "false")
    queues.sns.publish(TopicArn=topic, Message="m")
    assert json.loads(queues.await_messages(url)[0]["Body"])["Message"] == "m"


@documented(f"{API}/API_ReceiveMessage.html")
def test_attributes_are_returned_by_name(queues: Queues) -> None:
    """MessageAttributeNames: the names of the attributes to return; without, a message comes without attributes."""
    url = queues.create(VisibilityTimeout="0")
    attributes = {name: {"DataType": "String", "StringValue": name} for name in ("a", "b")}
    queues.sqs.send_message(QueueUrl=url, MessageBody="m", MessageAttributes=attributes)
    assert "MessageAttributes" not in queues.await_messages(url)[0]
    assert queues.await_messages(url, MessageAttributeNames=["a"])[0]["MessageAttributes"].keys() == {"a"}


@documented(f"{SNS}/sns-message-attributes.html")
def test_raw_messages_have_at_most_ten_attributes(queues: Queues) -> None:
    """Messages with more than 10 attributes to raw SQS subscriptions will be discarded as client side errors."""
    topic, url = queues.workspace.topic_with_queue()
    queues.set_subscription(topic, "RawMessageDelivery", "true")
    for count, body in ((11, "discarded"), (10, "delivered")):
        attributes = {f"a{number}": {"DataType": "String", "StringValue": "v"} for number in range(count)}
        queues.sns.publish(TopicArn=topic, Message=body, MessageAttributes=attributes)
    assert [message["Body"] for message in queues.await_messages(url, MaxNumberOfMessages=10)] == ["delivered"]


# ---- dead letters ------------------------------------------------------------------------------------------


@documented(f"{API}/API_CreateQueue.html")
def test_a_message_that_is_received_too_often_is_a_dead_letter(queues: Queues) -> None:
    """When the ReceiveCount for a message exceeds the maxReceiveCount, SQS moves it to the dead-letter queue."""
    dead = queues.create()
    redrive = {"deadLetterTargetArn": queues.arn(dead), "maxReceiveCount": 2}
    url = queues.create(VisibilityTimeout="0", RedrivePolicy=json.dumps(redrive))
    queues.send(url, "poison")
    for _ in range(2):
        assert queues.await_messages(url)

    def moved() -> list[dict[str, Any]]:
        assert queues.receive(url) == []
        return queues.receive(dead)

    assert [message["Body"] for message in queues.workspace.wait(moved, "the dead letter")] == ["poison"]


@documented(f"{SNS}/sns-dead-letter-queues.html")
def test_what_cannot_be_delivered_is_a_dead_letter(queues: Queues) -> None:
    """A subscription's dead-letter queue holds messages that can't be delivered due to client errors."""
    topic, url = queues.workspace.topic_with_queue()
    dead = queues.create()
    send = {
        **allow("sqs:SendMessage", resource=queues.arn(dead)),
        "Principal": {"Service": "sns.amazonaws.com"},
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    queues.sqs.set_queue_attributes(QueueUrl=dead, Attributes={"Policy": policy([send])})
    queues.set_subscription(topic, "RedrivePolicy", json.dumps({"deadLetterTargetArn": queues.arn(dead)}))
    queues.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    queues.sns.publish(TopicArn=topic, Message="undeliverable")
    [message] = queues.await_messages(dead)
    assert "undeliverable" in message["Body"]


# ---- who may -----------------------------------------------------------------------------------------------


@documented(f"{GUIDE}/sqs-basic-examples-of-iam-policies.html")
def test_a_role_receives_from_its_queue_only(queues: Queues) -> None:
    """A policy may allow sqs:ReceiveMessage and sqs:DeleteMessage on one queue, named by its ARN."""
    mine, other = queues.create(), queues.create()
    allowed = allow("sqs:ReceiveMessage", "sqs:DeleteMessage", resource=queues.arn(mine))
    client = client_with(queues.workspace, "sqs", [allowed])
    queues.send(mine)
    [message] = queues.workspace.wait(lambda: client.receive_message(QueueUrl=mine).get("Messages"), "a message")
    assert permitted(lambda: client.delete_message(QueueUrl=mine, ReceiptHandle=message["ReceiptHandle"]))
    assert not permitted(lambda: client.receive_message(QueueUrl=other))
    assert not permitted(lambda: client.send_message(QueueUrl=mine, MessageBody="m"))


@documented(f"{GUIDE}/sqs-basic-examples-of-sqs-policies.html")
def test_a_queues_policy_alone_may_allow(queues: Queues) -> None:
    """A queue's policy grants a role of the account access to it, without a policy of the role."""
    url = queues.create()
    principal = {"AWS": f"arn:aws:iam::{queues.workspace.target.account_id}:root"}
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    role = queues.workspace.role_trusting(trust, [])
    keys = queues.workspace.client("sts").assume_role(RoleArn=role, RoleSessionName="session")["Credentials"]
    client = queues.workspace.client(
        "sqs",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )

    def send() -> Any:
        return client.send_message(QueueUrl=url, MessageBody="m")

    assert not permitted(send)
    statement = {**allow("sqs:SendMessage", resource=queues.arn(url)), "Principal": {"AWS": role}}
    queues.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy([statement])})
    assert queues.workspace.wait(lambda: permitted(send), "the policy allows it")


@documented(f"{GUIDE}/sqs-basic-examples-of-sqs-policies.html")
def test_a_queues_policy_may_deny(queues: Queues) -> None:
    """An explicit deny in the queue's policy overrides what the role's policy allows."""
    url = queues.create()
    client = client_with(queues.workspace, "sqs", [allow("sqs:*", resource=queues.arn(url))])

    def send() -> Any:
        return client.send_message(QueueUrl=url, MessageBody="m")

    assert permitted(send)
    statement = {**allow("sqs:SendMessage", resource=queues.arn(url)), "Principal": "*", "Effect": "Deny"}
    queues.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy([statement])})
    assert queues.workspace.wait(lambda: not permitted(send), "the policy denies it")
