"""Who may publish to a topic: its policy, the policies of roles, services, and other accounts."""

import json
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, allow, error_code, policy
from tests.conformance.credentials import client_with
from tests.conformance.identities import permitted

API = "https://docs.aws.amazon.com/sns/latest/api"
GUIDE = "https://docs.aws.amazon.com/sns/latest/dg"
USE_CASES = f"{GUIDE}/sns-access-policy-use-cases.html"
LOGIC = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html"
CROSS_ACCOUNT = (
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html"
)
OTHER_ACCOUNT = "111122223333"


class Topics:
    """Topics with a queue, their policies, and sessions that try to publish."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace, self.sns = workspace, workspace.client("sns")

    def policy(self, topic: str) -> dict[str, Any]:
        return json.loads(self.sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])

    def allow(self, topic: str, principal: Any, effect: str = "Allow", **more: Any) -> None:
        """Let a principal, and by the topic's policy nobody else, publish; or deny it to them."""
        statement = {**allow("sns:Publish", resource=topic), "Principal": principal, "Effect": effect, **more}
        self.sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy([statement]))

    def may_publish(self, client: Any, topic: str) -> bool:
        return permitted(lambda: client.publish(TopicArn=topic, Message="m"))

    def await_verdict(self, client: Any, topic: str, *, may: bool) -> None:
        self.workspace.wait(lambda: self.may_publish(client, topic) is may, f"publishing is permitted: {may}")


@pytest.fixture(scope="module")
def topics(workspace: Workspace) -> Topics:
    return Topics(workspace)


def without_permissions(workspace: Workspace) -> tuple[str, Any]:
    """Return a role that may do nothing, and a client of it."""
    account = {"AWS": f"arn:aws:iam::{workspace.target.account_id}:root"}
    role = workspace.role_trusting({"Effect": "Allow", "Principal": account, "Action": "sts:AssumeRole"}, [])
    keys = workspace.client("sts").assume_role(RoleArn=role, RoleSessionName="nothing")["Credentials"]
    names = {"AccessKeyId": "access_key_id", "SecretAccessKey": "secret_access_key", "SessionToken": "session_token"}
    return role, workspace.client("sns", **{f"aws_{name}": keys[key] for key, name in names.items()})


@documented(f"{API}/API_CreateTopic.html")
def test_a_new_topic_is_its_owners(topics: Topics) -> None:
    """Policy: by default, only the topic owner can publish or subscribe to the topic."""
    topic, _ = topics.workspace.topic_with_queue()
    account = topics.workspace.target.account_id
    for statement in topics.policy(topic)["Statement"]:
        assert statement["Condition"] == {"StringEquals": {"AWS:SourceOwner": account}}
    _, client = without_permissions(topics.workspace)
    assert not topics.may_publish(client, topic)
    assert not permitted(lambda: client.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.com"))


@documented(f"{GUIDE}/sns-using-identity-based-policies.html")
def test_a_roles_policy_names_its_topic(topics: Topics) -> None:
    """An IAM policy can restrict the topics that a user of the account may publish to, by their ARNs."""
    (mine, _), (other, _) = topics.workspace.topic_with_queue(), topics.workspace.topic_with_queue()
    client = client_with(topics.workspace, "sns", [allow("sns:Publish", resource=mine)])
    assert topics.may_publish(client, mine)
    assert not topics.may_publish(client, other)
    assert not permitted(lambda: client.get_topic_attributes(TopicArn=mine))


@documented(LOGIC)
def test_a_topics_policy_alone_may_allow(topics: Topics) -> None:
    """Within an account, an identity-based policy or a resource-based policy, such as a topic's, may allow."""
    topic, _ = topics.workspace.topic_with_queue()
    role, client = without_permissions(topics.workspace)
    topics.allow(topic, {"AWS": role})
    topics.await_verdict(client, topic, may=True)


@documented(LOGIC)
def test_a_topics_policy_may_deny(topics: Topics) -> None:
    """An explicit deny in a resource-based policy, such as a topic's, overrides what a role's policy allows."""
    topic, _ = topics.workspace.topic_with_queue()
    client = client_with(topics.workspace, "sns", [allow("sns:Publish", resource=topic)])
    topics.allow(topic, "*", "Deny")
    topics.await_verdict(client, topic, may=False)


@documented(USE_CASES)
def test_add_permission_names_accounts(topics: Topics) -> None:
    """AddPermission adds a statement with the label, the account and the action to the topic's policy."""
    topic, _ = topics.workspace.topic_with_queue()
    account = topics.workspace.target.account_id
    add = {"AWSAccountId": [account], "ActionName": ["Publish"]}
    topics.sns.add_permission(TopicArn=topic, Label="grant-publish", **add)
    [added] = [item for item in topics.policy(topic)["Statement"] if item["Sid"] == "grant-publish"]
    assert (added["Effect"], added["Action"], added["Resource"]) == ("Allow", "SNS:Publish", topic)
    assert added["Principal"] == {"AWS": f"arn:aws:iam::{account}:root"}


@documented(CROSS_ACCOUNT)
def test_an_allow_for_another_account_is_for_no_one_else(topics: Topics) -> None:
    """The resource-based policy must specify the principal that will have access: naming another account allows it."""
    topic, _ = topics.workspace.topic_with_queue()
    topics.allow(topic, {"AWS": f"arn:aws:iam::{OTHER_ACCOUNT}:root"})
    _, client = without_permissions(topics.workspace)
    assert not topics.may_publish(client, topic)


@documented(CROSS_ACCOUNT)
def test_another_accounts_topic_needs_its_policy(topics: Topics) -> None:
    """To allow cross-account access, the resource's policy must allow it too: a role's own policy is not enough."""
    client = client_with(topics.workspace, "sns", [allow("sns:Publish", resource="*")])
    region = topics.workspace.target.region
    other = f"arn:aws:sns:{region}:{OTHER_ACCOUNT}:{topics.workspace.name('topic')}"
    assert not topics.may_publish(client, other)


@documented(f"{API}/API_SetTopicAttributes.html")
@pytest.mark.parametrize("document", ["no JSON", "[]", "{}"])
def test_a_malformed_topic_policy_is_refused(topics: Topics, document: str) -> None:
    """InvalidParameter: a request parameter does not comply with the associated constraints."""
    topic, _ = topics.workspace.topic_with_queue()
    given = {"TopicArn": topic, "AttributeName": "Policy", "AttributeValue": document}
    assert error_code(lambda: topics.sns.set_topic_attributes(**given))[0] == "InvalidParameter"


@documented(USE_CASES)
def test_an_alarm_needs_the_topics_permission(topics: Topics) -> None:
    """An alarm may publish to a topic whose policy allows cloudwatch.amazonaws.com, for the alarm as aws:SourceArn."""
    (open_topic, open_queue), (closed, closed_queue) = (topics.workspace.topic_with_queue() for _ in range(2))
    cloudwatch, name = topics.workspace.client("cloudwatch"), topics.workspace.name("alarm")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace=topics.workspace.name("alarms"),
        MetricName="m",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[closed, f"{closed}-absent", open_topic],
        Tags=topics.workspace.tags,
    )
    topics.workspace.later(f"alarm {name}", lambda: cloudwatch.delete_alarms(AlarmNames=[name]))
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    service = {"Service": "cloudwatch.amazonaws.com"}
    condition = {"ArnLike": {"aws:SourceArn": alarm["AlarmArn"]}}
    topics.allow(open_topic, service, Condition=condition)
    topics.allow(closed, service, Condition={"ArnLike": {"aws:SourceArn": f"{alarm['AlarmArn']}-other"}})
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    [envelope] = topics.workspace.wait(lambda: topics.workspace.messages(open_queue), "the alarm's message")
    assert json.loads(envelope["Message"])["AlarmName"] == name
    assert topics.workspace.messages(closed_queue) == []
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["StateReason"] == "test"
