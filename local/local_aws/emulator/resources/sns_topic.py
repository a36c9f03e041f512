"""AWS::SNS::Topic."""

from __future__ import annotations

from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, require_known
from local_aws.emulator.resources.conform import call

_ATTRIBUTES = ("DisplayName", "KmsMasterKeyId", "TracingConfig")
_KNOWN = frozenset(_ATTRIBUTES) | {"Tags", "TopicName"}


class Topic(Handler):
    """A topic; `Ref` is its ARN."""

    types = ("AWS::SNS::Topic",)
    immutable = frozenset({"TopicName"})

    def create(self, context: Context, properties: Properties) -> Outcome:
        require_known(properties, _KNOWN)
        name = properties.get("TopicName") or context.new_name(256)
        attributes = {key: str(properties[key]) for key in _ATTRIBUTES if key in properties}
        parameters = {"Name": name, "Attributes": attributes, "Tags": properties.get("Tags", [])}
        return _outcome(call(context, "sns", "CreateTopic", parameters)["TopicArn"])

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        require_known(new, _KNOWN)
        sns = context.client("sns")
        for name in _ATTRIBUTES:
            if old.get(name) != new.get(name):
                value = str(new.get(name, ""))
                sns.set_topic_attributes(TopicArn=physical_id, AttributeName=name, AttributeValue=value)
        if old.get("Tags"):
            sns.untag_resource(ResourceArn=physical_id, TagKeys=[tag["Key"] for tag in old["Tags"]])
        if new.get("Tags"):
            sns.tag_resource(ResourceArn=physical_id, Tags=new["Tags"])
        return _outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        sns = context.client("sns")
        # SNS drops a topic's subscriptions with it; moto keeps them.
        for page in sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=physical_id):
            for subscription in page["Subscriptions"]:
                sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
        sns.delete_topic(TopicArn=physical_id)


def _outcome(arn: str) -> Outcome:
    return Outcome(arn, {"TopicArn": arn, "TopicName": arn.rpartition(":")[2]})
