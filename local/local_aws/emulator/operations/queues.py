"""SQS: limits of a queue's attributes, and what SNS does with a queue that does not take its messages.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html
"""

import copy
import json
from collections.abc import Callable
from typing import Any, cast

from moto.sqs.exceptions import InvalidAttributeValue
from moto.sqs.models import Queue

from local_aws.emulator.iam.authorization import service_may
from local_aws.emulator.iam.policies import Access

_MAX_RAW_ATTRIBUTES = 10  # https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html
_LIMITS = {
    "DelaySeconds": (0, 900),
    "MaximumMessageSize": (1024, 1_048_576),
    "MessageRetentionPeriod": (60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (0, 43_200),
}
_Deliver = Callable[..., None]


def install() -> None:
    """Check attributes before moto sets them, and keep the policy of a queue when another attribute is set."""
    queue = cast(Any, Queue)
    set_attributes = queue._set_attributes

    def set_checked(self: Any, attributes: dict[str, Any], now: float | None = None) -> None:
        for name, (least, most) in _LIMITS.items():
            value = str(attributes.get(name, least))
            if not value.isdecimal() or not least <= int(value) <= most:
                raise InvalidAttributeValue(name)
        kept = {"Policy": self.policy} if hasattr(self, "_policy_json") else {}
        set_attributes(self, {**kept, **attributes}, now)

    queue._set_attributes = set_checked


def deliver(subscription: Any, send: _Deliver, message: str, message_id: str, **options: Any) -> None:
    """Send a message to a subscribed queue, or to the subscription's dead-letter queue if the queue does not take it.

    `send` is moto's method; a message that fits neither is lost, as on AWS.
    """
    addressed = copy.copy(subscription)
    raw = str(subscription.attributes.get("RawMessageDelivery")).lower() == "true"  # moto takes "false" for true
    addressed.attributes = {**subscription.attributes, "RawMessageDelivery": raw}
    fits = not raw or len(options.get("message_attributes") or {}) <= _MAX_RAW_ATTRIBUTES
    if fits and _admits(subscription.endpoint, subscription.topic.arn):
        send(addressed, message, message_id, **options)
        return
    redrive = json.loads(subscription.attributes.get("RedrivePolicy") or "{}")
    addressed.endpoint = redrive.get("deadLetterTargetArn", "")
    if not fits:
        options["message_attributes"] = None
    if addressed.endpoint and _admits(addressed.endpoint, subscription.topic.arn):
        send(addressed, message, message_id, **options)


def _admits(arn: str, topic: str) -> bool:
    """Return whether a queue exists, and its policy lets SNS send it this topic's messages."""
    return service_may("sns.amazonaws.com", Access("sqs:SendMessage", arn, {"aws:sourcearn": topic}))
