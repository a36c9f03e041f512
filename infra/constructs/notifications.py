# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""SNS topics for finished requests, failed requests and alarms."""

from collections.abc import Sequence

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.config import Config
from infra.constructs.encryption import Encryption


class Notifications(Construct):
    """Success, error and alarm topics: TLS only, each with its own list of e-mail subscriptions."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, encryption: Encryption) -> None:
        super().__init__(scope, construct_id)
        self._encryption = encryption
        self.success = self._topic("SuccessTopic", "answered requests", config.success_emails)
        self.error = self._topic("ErrorTopic", "failed and expired requests", config.error_emails)
        self.alarm = self._topic("AlarmTopic", "alarms", config.alarm_emails)
        # A topic with its own policy loses the default one, which lets the account's alarms publish.
        stack = Stack.of(self)
        self.alarm.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsOfThisAccount",
                actions=["sns:Publish"],
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                resources=[self.alarm.topic_arn],
                conditions={
                    "StringEquals": {"aws:SourceAccount": stack.account},
                    "ArnLike": {"aws:SourceArn": stack.format_arn(service="cloudwatch", resource="alarm:*")},
                },
            )
        )

    def _topic(self, construct_id: str, content: str, addresses: Sequence[str]) -> sns.Topic:
        name = f"MusicGen: {content}"  # how e-mail programs show the sender
        topic = sns.Topic(self, construct_id, enforce_ssl=True, master_key=self._encryption.key, display_name=name)
        for address in addresses:
            topic.add_subscription(subscriptions.EmailSubscription(address))
        return topic

    def grant_publish(self, grantee: iam.IGrantable) -> iam.Grant:
        """Publish success and error messages."""
        self._encryption.grant_publish(grantee, [self.success, self.error])
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["sns:Publish"],
            resource_arns=[self.success.topic_arn, self.error.topic_arn],
        )
