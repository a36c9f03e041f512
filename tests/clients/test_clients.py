"""What the SDK's versions 2 and 3 and the AWS CLI's version 1 see, unchanged."""

import json
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.clients.helpers.deployed import Deployed
from tests.clients.helpers.sdk_home import sdk_settings

Run = Callable[..., dict[str, Any]]


def test_sagemaker_2(deployed: Deployed, run_client: Run, tmp_path: Path) -> None:
    settings = sdk_settings(tmp_path, deployed.aws.endpoint_url, deployed.bucket)
    words = (deployed.endpoint, deployed.role, deployed.model_data)
    shown = run_client("sagemaker-2", "sagemaker_v2.py", *words, **settings)
    assert shown["version"].startswith("2.")
    assert shown["default_bucket"] == deployed.bucket
    assert "arn:aws:iam::123456789012:root" in shown["no_role"]
    assert [shown[name]["echo"]["texts"] for name in ("echo", "async", "deployed")] == [["a"], ["b"], ["c"]]
    assert shown["failure"][0] == "AsyncInferenceModelError"
    assert "on purpose" in shown["failure"][1]
    assert "DataCaptureConfig" not in shown["described"]
    assert shown["updated"] == ["InService", True]
    assert shown["still_asynchronous"]
    assert "echo-v2" not in shown["left"]
    assert "Could not find endpoint" in shown["gone"]
    assert "the embedded AWS does not support sagemaker:ListTrainingJobs" in shown["unsupported"]


def test_sagemaker_3(deployed: Deployed, run_client: Run) -> None:
    shown = run_client("sagemaker-3", "sagemaker_v3.py", deployed.endpoint, deployed.bucket)
    assert shown["version"].startswith("3.")
    assert shown["status"] in ("InService", "Updating")
    assert shown["output"] == f"s3://{deployed.bucket}/out"
    assert shown["image"] == "example.com/echo:1"
    assert (deployed.endpoint in shown["all"], shown["by_name"]) == (True, [])
    assert shown["echo"]["echo"] == {"texts": ["three"]}
    assert shown["locations"] == [f"s3://{deployed.bucket}/{folder}" for folder in ("out", "failures")]
    assert (shown["config"], shown["model"]) == ([deployed.model, 1], ["example.com/echo:1", deployed.role])
    assert deployed.config in shown["configs"]
    assert deployed.model in shown["models"]
    assert shown["pending"] == deployed.config
    assert shown["gone"]["Code"] == "ValidationException"


def test_cli_1(deployed: Deployed, run_client: Run, tmp_path: Path) -> None:
    url, folder = deployed.aws.endpoint_url, str(tmp_path)
    words = (deployed.endpoint, deployed.bucket, deployed.alarm, folder, url)
    shown = run_client("awscli-1", "operator_cli.py", *words)
    assert shown["version"].startswith("aws-cli/1.")
    assert shown["identity"]["Arn"] == "arn:aws:iam::123456789012:root"
    assert ["operators", "CREATE_COMPLETE"] in shown["stacks"]
    events = shown["events"]["StackEvents"]
    assert [event["Timestamp"] for event in events] == sorted((event["Timestamp"] for event in events), reverse=True)
    assert [event["LogicalResourceId"] for event in events] == ["operators", "Topic", "Topic", "operators"]
    check_scaling(shown, deployed)
    begins = [point["Timestamp"] for point in shown["statistics"]["Datapoints"]]
    assert begins and all(seconds % 60 == 0 for seconds in begins)
    assert max(point["SampleCount"] for point in shown["statistics"]["Datapoints"]) <= 61  # a minute in each second
    of_endpoint = [{"Name": "EndpointName", "Value": deployed.endpoint}]  # the other clients' endpoints have theirs
    assert [metric["Dimensions"] for metric in shown["metrics"]["Metrics"]].count(of_endpoint) == 1
    assert len(shown["log"]["events"]) == 3
    assert shown["mail"] == {"SubscriptionArn": "pending confirmation"}
    assert [item["SubscriptionArn"] for item in shown["mails"]["Subscriptions"]] == ["PendingConfirmation"]
    assert "MessageId" in shown["published"]
    assert "Could not connect" in shown["queue_without_hint"]["error"]  # version 1 ignores AWS_ENDPOINT_URL for SQS
    assert shown["queue"]["QueueUrl"] in shown["queues"]["QueueUrls"]
    check_descriptions(shown, deployed)
    assert shown["synced"].startswith("upload:")
    assert (shown["synced_again"], shown["removed"][:7]) == ("", "delete:")
    trust = ssl.create_default_context(cafile=str(deployed.aws.ca_bundle))
    with urllib.request.urlopen(shown["url"], context=trust) as answer:
        assert json.load(answer) == {"texts": ["cli"]}
    assert shown["invoked"]["OutputLocation"].startswith(f"s3://{deployed.bucket}/out/")
    assert "the embedded AWS does not support sagemaker:ListTrainingJobs" in shown["training"]["error"]
    assert "ResourceNotFoundException" in shown["no_function"]["error"]


def check_scaling(shown: dict[str, Any], deployed: Deployed) -> None:
    (activity,) = shown["activities"]["ScalingActivities"]
    assert activity["Description"] == "Setting desired instance count to 2."
    assert activity["Cause"] == f"monitor alarm {deployed.alarm} in state ALARM triggered policy AddOne"
    assert [target["MaxCapacity"] for target in shown["targets"]["ScalableTargets"]] == [2]
    (policy,) = shown["policies"]["ScalingPolicies"]
    assert [alarm["AlarmName"] for alarm in policy["Alarms"]] == [deployed.alarm]
    assert shown["alarms"]["MetricAlarms"][0]["StateValue"] == "ALARM"
    history = [item["HistorySummary"] for item in shown["history"]["AlarmHistoryItems"]]
    assert history[-2:] == ["Alarm updated from INSUFFICIENT_DATA to ALARM", f'Alarm "{deployed.alarm}" created']
    assert {f"Successfully executed action {arn}" for arn in (policy["PolicyARN"], deployed.topics[1])} == {
        *history[:-2]
    }


def check_descriptions(shown: dict[str, Any], deployed: Deployed) -> None:
    assert deployed.endpoint in [item["EndpointName"] for item in shown["endpoints"]["Endpoints"]]
    endpoint, config, model = shown["endpoint"], shown["config"], shown["model"]
    assert endpoint["AsyncInferenceConfig"] == config["AsyncInferenceConfig"]
    empty = [name for found in (endpoint, config, model) for name, value in found.items() if value in ({}, [])]
    assert empty == []
