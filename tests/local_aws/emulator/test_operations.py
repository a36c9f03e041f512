"""Operations that moto lacks or answers otherwise than AWS, through boto3."""

import json
import ssl
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws.emulator.process import LocalAws
from tests.local_aws.emulator.conftest import Stack

TOPIC = {"Topic": {"Type": "AWS::SNS::Topic"}}


def alarm(aws: LocalAws, name: str, **settings: Any) -> Any:
    cloudwatch = aws.client("cloudwatch")
    rule = {"Namespace": "N", "MetricName": "M", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1}
    comparison = {"Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold"}
    cloudwatch.put_metric_alarm(AlarmName=name, **rule, **comparison, **settings)
    return cloudwatch


def test_list_stacks_shows_names_and_states_newest_first(aws: LocalAws, stack: Stack) -> None:
    older = Stack(aws)
    older.deploy(TOPIC)
    older.delete()
    stack.deploy(TOPIC, Description="a topic")
    found = aws.client("cloudformation").list_stacks()["StackSummaries"]
    mine = [item for item in found if item["StackId"] in (stack.id, older.id)]
    assert [(item["StackName"], item["StackStatus"]) for item in mine] == [
        (stack.name, "CREATE_COMPLETE"),
        (older.name, "DELETE_COMPLETE"),
    ]
    assert mine[0]["TemplateDescription"] == "a topic"
    assert "DeletionTime" not in mine[0] and mine[1]["DeletionTime"] > mine[1]["CreationTime"]


def test_resources_show_their_own_state_and_time(aws: LocalAws, stack: Stack) -> None:
    stack.deploy(TOPIC)
    client = aws.client("cloudformation")
    (listed,) = client.list_stack_resources(StackName=stack.id)["StackResourceSummaries"]
    event = client.describe_stack_events(StackName=stack.id)["StackEvents"][1]
    assert (listed["ResourceStatus"], listed["LastUpdatedTimestamp"]) == ("CREATE_COMPLETE", event["Timestamp"])
    stack.deploy({"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "another"}}})
    (described,) = client.describe_stack_resources(StackName=stack.id)["StackResources"]
    assert (described["ResourceStatus"], described["PhysicalResourceId"][-7:]) == ("UPDATE_COMPLETE", "another")
    assert stack.describe()["LastUpdatedTime"] > stack.describe()["CreationTime"]


def test_change_sets_are_those_of_the_stack(aws: LocalAws, stack: Stack) -> None:
    stack.deploy(TOPIC)
    client, other = aws.client("cloudformation"), Stack(aws)
    body = json.dumps({"Resources": TOPIC})
    client.create_change_set(StackName=other.name, ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=body)
    assert client.list_change_sets(StackName=stack.name)["Summaries"] == []
    assert [item["ChangeSetName"] for item in client.list_change_sets(StackName=other.name)["Summaries"]] == ["first"]
    client.delete_stack(StackName=other.name)


def test_datapoints_begin_at_whole_periods_and_have_exactly_the_dimensions(aws: LocalAws) -> None:
    cloudwatch, start = aws.client("cloudwatch"), datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    wanted, more = [{"Name": "E", "Value": "a"}], [{"Name": "E", "Value": "a"}, {"Name": "V", "Value": "b"}]
    for seconds, value, dimensions in ((7, 1.0, wanted), (59, 3.0, wanted), (61, 5.0, wanted), (7, 100.0, more)):
        datum = {"MetricName": "m", "Dimensions": dimensions, "Timestamp": start + timedelta(seconds=seconds)}
        cloudwatch.put_metric_data(Namespace="aligned", MetricData=[datum | {"Value": value}])
    metric = {"Namespace": "aligned", "MetricName": "m", "Dimensions": wanted, "Statistics": ["Sum"]}
    window = {"StartTime": start, "EndTime": start + timedelta(hours=1)}
    found = cloudwatch.get_metric_statistics(**metric, **window, Period=60)["Datapoints"]
    assert [(item["Timestamp"], item["Sum"]) for item in found] == [(start, 4.0), (start + timedelta(minutes=1), 5.0)]
    with pytest.raises(ClientError, match=r"Period must be .*, got 61"):
        cloudwatch.get_metric_statistics(**metric, **window, Period=61)
    with pytest.raises(ClientError, match="exceeds the limit of 1440"):
        cloudwatch.get_metric_statistics(**metric, **window, Period=1)


def test_alarm_begins_without_data_and_has_a_history(aws: LocalAws) -> None:
    cloudwatch = alarm(aws, "remembered")
    (described,) = cloudwatch.describe_alarms(AlarmNames=["remembered"])["MetricAlarms"]
    assert described["StateValue"] == "INSUFFICIENT_DATA"
    assert "Metrics" not in described
    cloudwatch.set_alarm_state(AlarmName="remembered", StateValue="ALARM", StateReason="by hand")
    alarm(aws, "remembered", AlarmDescription="changed")
    (changed,) = cloudwatch.describe_alarms(AlarmNames=["remembered"])["MetricAlarms"]
    assert (changed["StateValue"], changed["StateReason"]) == ("ALARM", "by hand")
    cloudwatch.delete_alarms(AlarmNames=["remembered"])
    items = cloudwatch.describe_alarm_history(AlarmName="remembered")["AlarmHistoryItems"]
    assert [item["HistorySummary"] for item in items] == [
        'Alarm "remembered" deleted',
        'Alarm "remembered" updated',
        "Alarm updated from INSUFFICIENT_DATA to ALARM",
        'Alarm "remembered" created',
    ]
    data = json.loads(items[2]["HistoryData"])
    assert (data["oldState"]["stateValue"], data["newState"]) == (
        "INSUFFICIENT_DATA",
        {"stateValue": "ALARM", "stateReason": "by hand"},
    )
    oldest = cloudwatch.describe_alarm_history(AlarmName="remembered", ScanBy="TimestampAscending", MaxRecords=1)
    assert oldest["AlarmHistoryItems"][0]["HistorySummary"] == 'Alarm "remembered" created'
    updates = cloudwatch.describe_alarm_history(AlarmName="remembered", HistoryItemType="StateUpdate")
    assert len(updates["AlarmHistoryItems"]) == 1


def test_mail_subscription_stays_pending_and_receives_nothing(aws: LocalAws) -> None:
    sns = aws.client("sns")
    topic = sns.create_topic(Name="pending")["TopicArn"]
    assert sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.com")["SubscriptionArn"] == (
        "pending confirmation"
    )
    asked = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="b@example.com", ReturnSubscriptionArn=True)
    arn = asked["SubscriptionArn"]
    assert arn.startswith(topic)
    assert sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["PendingConfirmation"] == "true"
    listed = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [(item["SubscriptionArn"], item["Endpoint"]) for item in listed] == [
        ("PendingConfirmation", "a@example.com"),
        ("PendingConfirmation", "b@example.com"),
    ]
    counts = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert (counts["SubscriptionsPending"], counts["SubscriptionsConfirmed"]) == ("2", "0")
    sns.publish(TopicArn=topic, Message="hello")
    with pytest.raises(ClientError, match="Token"):
        sns.confirm_subscription(TopicArn=topic, Token="guess")
    with pytest.raises(ClientError, match="Topic does not exist"):
        sns.publish(TopicArn=f"{topic}-not", Message="hello")
    sns.delete_topic(TopicArn=topic)


def test_administrator_is_the_root_user(aws: LocalAws) -> None:
    identity = aws.client("sts").get_caller_identity()
    assert (identity["Arn"], identity["UserId"]) == ("arn:aws:iam::123456789012:root", "123456789012")


def test_presigned_url_of_signature_version_2_is_accepted(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="presigned")
    s3.put_object(Bucket="presigned", Key="k", Body=b"content")
    session: Any = boto3.session.Session()  # untyped: the name is not among the stubs' services
    signer = session.client(
        "s3",
        region_name=aws.region,
        endpoint_url=aws.endpoint_url,
        aws_access_key_id="local-administrator",
        aws_secret_access_key="local-administrator",
        config=Config(signature_version="s3"),
    )
    url = signer.generate_presigned_url("get_object", Params={"Bucket": "presigned", "Key": "k"})
    assert "AWSAccessKeyId=" in url
    with urllib.request.urlopen(url, context=ssl.create_default_context(cafile=str(aws.ca_bundle))) as answer:
        assert answer.read() == b"content"


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "name"),
    [
        ("sagemaker", "list_training_jobs", {}, "sagemaker:ListTrainingJobs"),
        ("sagemaker", "list_inference_components", {}, "sagemaker:ListInferenceComponents"),
        ("cloudtrail", "lookup_events", {}, "cloudtrail:LookupEvents"),
        ("lambda", "list_code_signing_configs", {}, "lambda:ListCodeSigningConfigs"),
        ("bedrock", "list_foundation_models", {}, "bedrock:ListFoundationModels"),
        ("athena", "list_data_catalogs", {}, "athena:ListDataCatalogs"),
        ("cloudformation", "detect_stack_drift", {"StackName": "a"}, "cloudformation:DetectStackDrift"),
        ("cloudwatch", "describe_anomaly_detectors", {}, "monitoring:DescribeAnomalyDetectors"),
        ("iam", "get_context_keys_for_custom_policy", {"PolicyInputList": ["{}"]}, "iam:GetContextKeysForCustomPolicy"),
        ("pricing", "describe_services", {}, "pricing:DescribeServices"),
    ],
)
def test_unsupported_call_is_refused_by_name(
    aws: LocalAws, service: str, operation: str, arguments: dict[str, Any], name: str
) -> None:
    started = time.monotonic()
    with pytest.raises(ClientError) as caught:
        getattr(aws.client(service), operation)(**arguments)
    error: Any = caught.value.response.get("Error", {})
    assert (error["Code"], error["Message"]) == (
        "UnsupportedOperationException",
        f"the embedded AWS does not support {name}",
    )
    assert time.monotonic() - started < 30
