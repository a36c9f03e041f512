"""AWS::SNS::TopicPolicy."""

from __future__ import annotations

from local_aws.emulator.account import ACCOUNT_ID
from local_aws.emulator.resources.base import Context, Handler, Outcome, Properties, document


class TopicPolicy(Handler):
    """The policy of one or more topics; `Ref` is a name that CloudFormation makes up."""

    types = ("AWS::SNS::TopicPolicy",)

    def create(self, context: Context, properties: Properties) -> Outcome:
        return self.update(context, context.new_name(), {}, properties)

    def update(self, context: Context, physical_id: str, old: Properties, new: Properties) -> Outcome:
        for topic in new["Topics"]:
            _set(context, topic, document(new["PolicyDocument"]))
        for topic in set(old.get("Topics", [])) - set(new["Topics"]):
            _set(context, topic, _default(topic))
        return Outcome(physical_id)

    def delete(self, context: Context, physical_id: str, properties: Properties) -> None:
        for topic in properties["Topics"]:
            _set(context, topic, _default(topic))


def _set(context: Context, topic: str, policy: str) -> None:
    context.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)


def _default(topic: str) -> str:
    """The policy that SNS gives a new topic: its own account may use it."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": ["SNS:GetTopicAttributes", "SNS:Publish", "SNS:Subscribe", "SNS:ListSubscriptionsByTopic"],
        "Resource": topic,
        "Condition": {"StringEquals": {"AWS:SourceOwner": ACCOUNT_ID}},
    }
    return document({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})
