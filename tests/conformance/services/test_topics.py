"""SNS topics with an SQS queue, as the stack's notifications use them."""

from conformance.behaviour import documented
from conformance.workspace import Workspace


@documented("https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html")
def test_a_queue_receives_what_is_published(workspace: Workspace) -> None:
    """A queue that is subscribed to a topic receives a JSON envelope with the message, its subject and the topic."""
    topic, queue = workspace.topic_with_queue()
    workspace.client("sns").publish(TopicArn=topic, Message="hello", Subject="greeting")
    (envelope,) = workspace.wait(lambda: workspace.messages(queue), "the message")
    expected = {"Type": "Notification", "TopicArn": topic, "Message": "hello", "Subject": "greeting"}
    assert expected.items() <= envelope.items()
