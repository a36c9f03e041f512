"""AWS::SNS::Topic, Subscription and TopicPolicy."""

from typing import Any

from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, pick, policy_json

_TOPIC_ATTRIBUTES = ("DisplayName", "KmsMasterKeyId", "TracingConfig")
_IDENTITY = ("Endpoint", "Protocol", "TopicArn")  # of a subscription
_SUBSCRIPTION_ATTRIBUTES = (
    "DeliveryPolicy",
    "FilterPolicy",
    "FilterPolicyScope",
    "RawMessageDelivery",
    "RedrivePolicy",
)


class Topic(Handler):
    """`Ref` is the topic's ARN."""

    types = ("AWS::SNS::Topic",)
    taggable = True
    properties = frozenset({*_TOPIC_ATTRIBUTES, "Tags", "TopicName"})
    immutable = frozenset({"TopicName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        name = properties.get("TopicName") or context.new_name(256)
        attributes = {key: str(properties[key]) for key in _TOPIC_ATTRIBUTES if key in properties}
        parameters = {"Name": name, "Attributes": attributes, "Tags": properties.get("Tags", [])}
        return _topic_outcome(context.call("sns", "CreateTopic", parameters)["TopicArn"])

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        sns = context.client("sns")
        for name in _TOPIC_ATTRIBUTES:
            if old.get(name) != new.get(name):
                value = str(new.get(name, ""))
                sns.set_topic_attributes(TopicArn=physical_id, AttributeName=name, AttributeValue=value)
        context.replace_tags("sns", {"ResourceArn": physical_id}, old, new)
        return _topic_outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        sns = context.client("sns")
        # SNS deletes a topic's subscriptions with it; moto keeps them.
        for page in sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=physical_id):
            for subscription in page["Subscriptions"]:
                sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
        sns.delete_topic(TopicArn=physical_id)


def _topic_outcome(arn: str) -> Outcome:
    return Outcome(arn, {"TopicArn": arn, "TopicName": arn.rpartition(":")[2]})


class Subscription(Handler):
    """`Ref` is the subscription's ARN."""

    types = ("AWS::SNS::Subscription",)
    properties = frozenset({*_SUBSCRIPTION_ATTRIBUTES, *_IDENTITY})
    immutable = frozenset(_IDENTITY)

    def create(self, context: Context, properties: Properties) -> Outcome:
        attributes = {
            name: _attribute_text(properties[name]) for name in _SUBSCRIPTION_ATTRIBUTES if name in properties
        }
        settings = {**pick(properties, *_IDENTITY), "Attributes": attributes, "ReturnSubscriptionArn": True}
        arn = context.call("sns", "Subscribe", settings)["SubscriptionArn"]
        return Outcome(arn, {"Arn": arn})

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        for name in _SUBSCRIPTION_ATTRIBUTES:
            if old.get(name) != new.get(name):
                context.client("sns").set_subscription_attributes(
                    SubscriptionArn=physical_id, AttributeName=name, AttributeValue=_attribute_text(new.get(name, {}))
                )
        return Outcome(physical_id, {"Arn": physical_id})

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        context.client("sns").unsubscribe(SubscriptionArn=physical_id)


def _attribute_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else policy_json(value)


class TopicPolicy(Handler):
    """The policy of one or more topics; `Ref` is a generated name."""

    types = ("AWS::SNS::TopicPolicy",)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        for topic in new["Topics"]:
            _set_topic_policy(context, topic, new["PolicyDocument"])
        for topic in set(old.get("Topics", [])) - set(new["Topics"]):
            _set_topic_policy(context, topic, _default_policy(topic))
        return Outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        self.update(context, physical_id, properties, {"Topics": []})


def _set_topic_policy(context: Context, topic: str, document: Any) -> None:
    sns = context.client("sns")
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy_json(document))


def _default_policy(topic: str) -> dict[str, Any]:
    """Return the policy that SNS gives a new topic: the topic's own account may use it."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": ["SNS:GetTopicAttributes", "SNS:Publish", "SNS:Subscribe", "SNS:ListSubscriptionsByTopic"],
        "Resource": topic,
        "Condition": {"StringEquals": {"AWS:SourceOwner": ACCOUNT_ID}},
    }
    return {"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]}
