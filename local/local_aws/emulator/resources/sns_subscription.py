"""AWS::SNS::Subscription."""

from __future__ import annotations

from typing import Any

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, document, require_known

_ATTRIBUTES = ("DeliveryPolicy", "FilterPolicy", "FilterPolicyScope", "RawMessageDelivery", "RedrivePolicy")
_KNOWN = frozenset(_ATTRIBUTES) | {"Endpoint", "Protocol", "TopicArn"}


class Subscription(Handler):
    """A subscription to a topic; `Ref` is its ARN."""

    types = ("AWS::SNS::Subscription",)
    immutable = frozenset({"Endpoint", "Protocol", "TopicArn"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        arn = context.client("sns").subscribe(
            TopicArn=properties["TopicArn"],
            Protocol=properties["Protocol"],
            Endpoint=properties["Endpoint"],
            Attributes={name: _text(properties[name]) for name in _ATTRIBUTES if name in properties},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        return Outcome(arn, {"Arn": arn})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        for name in _ATTRIBUTES:
            if old.get(name) != new.get(name):
                context.client("sns").set_subscription_attributes(
                    SubscriptionArn=physical_id, AttributeName=name, AttributeValue=_text(new.get(name, {}))
                )
        return Outcome(physical_id, {"Arn": physical_id})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("sns").unsubscribe(SubscriptionArn=physical_id)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else document(value)
