"""SNS: subscriptions that a person must confirm stay pending, as on AWS, and nothing confirms them here.

https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html: the answer has "pending confirmation" instead of an ARN,
unless ReturnSubscriptionArn is set. ListSubscriptions shows `PendingConfirmation`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from moto.core.responses import ActionResult
from moto.sns.exceptions import SNSInvalidParameter, SNSNotFoundError
from moto.sns.models import SNSBackend, Subscription
from moto.sns.responses import SNSResponse

from local_aws.emulator.operations import queues

_CONFIRMED_BY_PEOPLE = ("email", "email-json")
_PENDING = "PendingConfirmation"
_MAX_SUBJECT = 100  # AWS says "less than 100 characters", and accepts 100: https://github.com/getmoto/moto/issues/1503
_MAX_BYTES = 262_144


@dataclass(frozen=True)
class _Listed:
    """A subscription as ListSubscriptions shows it."""

    arn: str
    owner: str
    protocol: str
    endpoint: str
    topic_arn: str


def install() -> None:
    """Replace moto's Subscribe, Publish, ConfirmSubscription, listings and topic counts."""
    _install_backend(cast(Any, SNSBackend), cast(Any, Subscription))
    _check_policies(cast(Any, SNSBackend))
    _install_responses(cast(Any, SNSResponse))


def _install_backend(backend: Any, subscription: Any) -> None:
    subscribe, publish, deliver = backend.subscribe, backend.publish, subscription.publish

    def subscribe_pending(self: Any, topic_arn: str, endpoint: str, protocol: str) -> Any:
        made = subscribe(self, topic_arn, endpoint, protocol)
        if protocol in _CONFIRMED_BY_PEOPLE:
            if "@" not in endpoint:
                raise SNSInvalidParameter("Invalid parameter: Email address")
            made.attributes |= {_PENDING: "true", "ConfirmationWasAuthenticated": "false"}
        return made

    def deliver_confirmed(self: Any, *arguments: Any, **options: Any) -> None:
        if self.protocol == "sqs":
            queues.deliver(self, deliver, *arguments, **options)
        elif not _is_pending(self):
            deliver(self, *arguments, **options)

    def publish_to_topic(self: Any, message: str, arn: str | None = None, **options: Any) -> Any:
        if arn and arn.count(":") == 5 and arn not in self.topics:
            raise SNSNotFoundError("Topic does not exist")
        _check_message(message, **options)
        return publish(self, message, arn=arn, **options)

    backend.subscribe, backend.publish, subscription.publish = subscribe_pending, publish_to_topic, deliver_confirmed


def _check_policies(backend: Any) -> None:
    set_attribute = backend.set_topic_attribute

    def set_checked(self: Any, topic_arn: str, attribute_name: str, attribute_value: Any) -> None:
        if attribute_name == "policy":
            _check_policy(attribute_value)
        set_attribute(self, topic_arn, attribute_name, attribute_value)

    backend.set_topic_attribute = set_checked


def _check_policy(document: str) -> None:
    try:
        parsed: Any = json.loads(document)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict) or "Statement" not in parsed:
        raise SNSInvalidParameter("Invalid parameter: Policy Error: null")


def _check_message(
    message: str, subject: str | None = None, message_attributes: Mapping[str, Any] | None = None, **_options: Any
) -> None:
    """https://docs.aws.amazon.com/sns/latest/api/API_Publish.html."""
    if subject is not None and (len(subject) > _MAX_SUBJECT or any(ord(mark) < 32 for mark in subject)):
        raise SNSInvalidParameter("Invalid parameter: Subject")
    attributes = (message_attributes or {}).items()
    size = sum(len(f"{name}{value['Type']}{value['Value']}".encode()) for name, value in attributes)
    if len(message.encode()) + size > _MAX_BYTES:
        raise SNSInvalidParameter("Invalid parameter: Message too long")


def _install_responses(responses: Any) -> None:
    answer, describe_topic = responses.subscribe, responses.get_topic_attributes

    def answer_pending(self: Any) -> Any:
        result = answer(self)
        made = self.backend.subscriptions[result.result["SubscriptionArn"]]
        if _is_pending(made) and not self._get_bool_param("ReturnSubscriptionArn", False):
            return ActionResult({"SubscriptionArn": "pending confirmation"})
        return result

    def count_pending(self: Any) -> Any:
        result = describe_topic(self)
        arn = self._get_param("TopicArn")
        states = [_is_pending(item) for item in self.backend.subscriptions.values() if item.topic.arn == arn]
        result.result["Attributes"] |= {
            "SubscriptionsPending": str(sum(states)),
            "SubscriptionsConfirmed": str(len(states) - sum(states)),
        }
        return result

    def refuse_token(self: Any) -> Any:
        raise SNSInvalidParameter("Invalid parameter: Token")  # no mail is sent here, so there is no token

    responses.subscribe, responses.get_topic_attributes = answer_pending, count_pending
    responses.confirm_subscription = refuse_token
    responses.list_subscriptions = _listing(responses.list_subscriptions)
    responses.list_subscriptions_by_topic = _listing(responses.list_subscriptions_by_topic)


def _is_pending(subscription: Any) -> bool:
    return subscription.attributes.get(_PENDING) == "true"


def _listing(listing: Any) -> Any:
    """Return `listing` with `PendingConfirmation` in place of the ARN of a pending subscription."""

    def listed(self: Any) -> Any:
        found = listing(self)
        found.result["Subscriptions"] = [_shown(item) for item in found.result["Subscriptions"]]
        return found

    return listed


def _shown(item: Any) -> Any:
    if not _is_pending(item):
        return item
    return _Listed(_PENDING, item.owner, item.protocol, item.endpoint, item.topic.arn)
