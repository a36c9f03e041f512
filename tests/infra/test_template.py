"""Meaningful properties of the template, and a snapshot of the whole."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Match
from syrupy.assertion import SnapshotAssertion

from infra.config.images import image_uri
from tests.infra.templates import Find, Synthesise, plain, properties

ROOT = Path(__file__).resolve().parents[2]
VERSION = (ROOT / "model_bundle" / "code" / "VERSION").read_text(encoding="utf-8").strip()


def test_dev_template_matches_the_snapshot(dev_template: dict[str, Any], snapshot: SnapshotAssertion) -> None:
    masked = re.sub(r"[0-9a-f]{64}(?=\.zip)", "<asset>", json.dumps(dev_template, indent=1, sort_keys=True))
    assert masked == snapshot


def test_outputs_match_the_contract(dev_template: dict[str, Any]) -> None:
    contract = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8").split("## Stack outputs")[1].split("##")[0]
    assert set(dev_template["Outputs"]) == set(re.findall(r"`(\w+)`", contract))


def test_container_environment_matches_the_contract(only: Find) -> None:
    page = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    contract = page.split("## Container environment")[1].split("\n## ")[0]
    named = {name for row in re.findall(r"^\|(.*?)\|", contract, re.M) for name in re.findall(r"`([A-Z_]+)`", row)}
    variables = only("AWS::SageMaker::Model")["PrimaryContainer"]["Environment"]
    assert set(variables) == named
    assert variables["SAGEMAKER_MODEL_SERVER_WORKERS"] == "1"
    settings = only("AWS::SageMaker::EndpointConfig")["AsyncInferenceConfig"]["ClientConfig"]
    assert variables["MUSICGEN_MAX_CONCURRENT_REQUESTS"] == str(settings["MaxConcurrentInvocationsPerInstance"])


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_container_is_told_its_region_device_and_image(synthesise: Synthesise, region: str) -> None:
    container = properties(synthesise(region=region), "AWS::SageMaker::Model")["PrimaryContainer"]
    variables = container["Environment"]
    assert {name: value for name, value in variables.items() if name.startswith("AWS_")} == {
        "AWS_DEFAULT_REGION": region
    }
    assert (variables["MUSICGEN_DEVICE"], variables["MUSICGEN_IMAGE"]) == ("cuda", container["Image"])


def test_staged_models_properties_match_the_contract(only: Find) -> None:
    page = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    contract = page.split("## Staged model")[1].split("\n##")[0].split("The Lambda's environment")[0]
    properties = only("Custom::StagedModel")
    named = {name for row in re.findall(r"^\|(.*?)\|", contract, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert set(properties) == named
    assert properties["ServiceTimeout"] == "3600"
    assert properties["ModelId"] == "facebook/musicgen-large"
    assert properties["Revision"] == "15ccdc92099879e47b6da12c350cdb71d4eab3ca"
    assert properties["DecoderDtype"] == "float16"
    assert properties["KeyPrefix"] == "models/MusicGen-dev/StagedModel/"


def test_staging_lambda_runs_on_python_3_14_on_arm(only: Find) -> None:
    function = only("AWS::Lambda::Function", "StagedModel")
    assert (function["Runtime"], function["Architectures"]) == ("python3.14", ["arm64"])
    assert (function["Handler"], function["Timeout"]) == ("stage_model.handler.handler", 900)
    assert function["Environment"] == {"Variables": {"HF_ENDPOINT": "https://huggingface.co"}}
    assert only("AWS::Lambda::EventInvokeConfig")["MaximumRetryAttempts"] == 2


def test_endpoint_writes_to_the_output_bucket_and_publishes_to_both_topics(only: Find) -> None:
    settings = only("AWS::SageMaker::EndpointConfig")["AsyncInferenceConfig"]["OutputConfig"]
    assert plain(settings["S3OutputPath"]) == "s3://<StorageOutputBucket>/out/"
    assert plain(settings["S3FailurePath"]) == "s3://<StorageOutputBucket>/failures/"
    topics = {name: plain(topic) for name, topic in settings["NotificationConfig"].items()}
    assert topics == {"SuccessTopic": "<NotificationsSuccessTopic>", "ErrorTopic": "<NotificationsErrorTopic>"}


def test_endpoint_has_a_fixed_name_but_model_and_configuration_do_not(only: Find) -> None:
    assert only("AWS::SageMaker::Endpoint")["EndpointName"] == "musicgen-dev"
    assert "ModelName" not in only("AWS::SageMaker::Model")
    assert "EndpointConfigName" not in only("AWS::SageMaker::EndpointConfig")


def test_variant_is_one_instance_with_timeouts_for_the_staged_bytes(only: Find) -> None:
    (variant,) = only("AWS::SageMaker::EndpointConfig")["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.g5.2xlarge", 1)
    assert "InstancePools" not in variant
    assert variant["ModelDataDownloadTimeoutInSeconds"] == 588
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 900
    assert variant["VariantInstanceProvisionTimeoutInSeconds"] == 1800


@pytest.mark.parametrize("instance_type", ["ml.g5.2xlarge", "ml.g6.xlarge", "ml.g6e.xlarge"])
def test_gpu_variant_starts_with_a_driver_for_the_images_cuda(synthesise: Synthesise, instance_type: str) -> None:
    (variant,) = properties(synthesise(instance_type=instance_type), "AWS::SageMaker::EndpointConfig")[
        "ProductionVariants"
    ]
    assert variant["InferenceAmiVersion"] == "al2-ami-sagemaker-inference-gpu-3-1"  # driver 550, CUDA 12.4


def test_cpu_variant_runs_the_cpu_image_without_a_gpu_driver(synthesise: Synthesise) -> None:
    template = synthesise(model_id="facebook/musicgen-small", instance_type="ml.c7i.4xlarge")
    container = properties(template, "AWS::SageMaker::Model")["PrimaryContainer"]
    assert container["Image"] == image_uri("us-east-1", "cpu") == container["Environment"]["MUSICGEN_IMAGE"]
    assert container["Environment"]["MUSICGEN_DEVICE"] == "cpu"
    (variant,) = properties(template, "AWS::SageMaker::EndpointConfig")["ProductionVariants"]
    assert variant["InstanceType"] == "ml.c7i.4xlarge"
    assert "InferenceAmiVersion" not in variant


def test_fallback_instance_types_become_pools_in_order(synthesise: Synthesise) -> None:
    template = synthesise(fallback_instance_types="ml.g6.2xlarge,ml.g6e.xlarge").to_json()
    (settings,) = (r for r in template["Resources"].values() if r["Type"] == "AWS::SageMaker::EndpointConfig")
    (variant,) = settings["Properties"]["ProductionVariants"]
    assert "InstanceType" not in variant
    assert variant["InstancePools"] == [
        {"InstanceType": "ml.g5.2xlarge", "Priority": 1},
        {"InstanceType": "ml.g6.2xlarge", "Priority": 2},
        {"InstanceType": "ml.g6e.xlarge", "Priority": 3},
    ]


def test_price_of_the_instance_type_is_an_output(synthesise: Synthesise) -> None:
    template = synthesise(instance_type="ml.g6e.2xlarge")
    template.has_output("InstancePricePerHourUsd", {"Value": "2.8"})


def test_price_is_an_output_only_in_the_price_tables_region(synthesise: Synthesise) -> None:
    assert "InstancePricePerHourUsd" not in synthesise(region="eu-west-1").to_json()["Outputs"]


def test_invoke_command_sends_a_valid_request(dev_template: dict[str, Any]) -> None:
    command = dev_template["Outputs"]["InvokeCommand"]["Value"]
    assert "invoke-endpoint-async --region us-east-1 --endpoint-name musicgen-dev" in command
    assert command.endswith("--body fileb:///dev/stdin")
    body = json.loads(command.removeprefix("echo '").split("' | aws ")[0])
    assert body == {"texts": ["warm acoustic guitar, slow and calm"], "generation_params": {"duration": 5}}


def test_invoke_command_for_older_clients_sends_the_same_request_through_the_input_bucket(
    dev_template: dict[str, Any],
) -> None:
    commands = plain(dev_template["Outputs"]["InvokeCommandS3"]["Value"])
    copy, invoke = commands.split(" && ")
    request = "s3://<StorageInputBucket>/in/request.json"
    assert copy.endswith(f"aws s3 cp - {request} --region us-east-1 --content-type application/json")
    assert invoke.startswith("aws sagemaker-runtime invoke-endpoint-async --region us-east-1 ")
    assert invoke.endswith(f"--endpoint-name musicgen-dev --content-type application/json --input-location {request}")
    assert copy.split(" | ")[0] == dev_template["Outputs"]["InvokeCommand"]["Value"].split(" | ")[0]


def test_tags_reach_buckets_and_the_endpoint(synthesise: Synthesise) -> None:
    template = synthesise(tags="team=audio")
    for resource_type in ("AWS::S3::Bucket", "AWS::SageMaker::Endpoint"):
        tags = Match.array_with([{"Key": "team", "Value": "audio"}])
        template.has_resource_properties(resource_type, {"Tags": tags})


def test_every_taggable_resource_names_service_environment_version_and_owner(synthesise: Synthesise) -> None:
    template = synthesise(env="prod", owner="team audio", tags="Service=radio,team=audio").to_json()
    tagged = [
        resource["Properties"]["Tags"]
        for resource in template["Resources"].values()
        if "Tags" in resource.get("Properties", {})
    ]
    assert len(tagged) >= 20
    for tags in tagged:
        found = {tag["Key"]: tag["Value"] for tag in tags if not tag["Key"].startswith("aws-cdk:")}
        assert found == {
            "Service": "radio",
            "team": "audio",
            "environment": "prod",
            "owner": "team audio",
            "version": VERSION,
        }
    assert f"MusicGen {VERSION} behind" in template["Description"]


def test_template_records_the_settings_that_are_not_defaults(synthesise: Synthesise) -> None:
    assert synthesise().to_json()["Metadata"] == {"Settings": {}}
    given = {"max_capacity": "2", "alarm_emails": "a@example.com", "env": "prod", "region": "eu-west-1"}
    assert synthesise(**given).to_json()["Metadata"]["Settings"] == {
        "max_capacity": 2,
        "removal_policy": "retain",
        "termination_protection": "on",
        "output_retention_days": 90,
        "log_retention_days": 90,
        "alarm_emails": ["a@example.com"],
    }


def test_cdk_diff_shows_a_deployed_setting_that_cdk_json_does_not_have(synthesise: Synthesise) -> None:
    templates = [synthesise(max_capacity="3", clip_seconds="20").to_json(), synthesise().to_json()]
    script = """
        const { fullDiff, formatDifferences } = require("@aws-cdk/cloudformation-diff");
        const [deployed, head] = JSON.parse(require("fs").readFileSync(0, "utf8"));
        formatDifferences(process.stdout, fullDiff(deployed, head));
    """
    command = ["node", "-e", script]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(templates), capture_output=True, text=True, check=True)
    metadata = done.stdout.split("Metadata\n", 1)[1].split("\n\n")[0]
    assert "Settings" in metadata
    assert re.search(r"max_capacity.{1,9}3", metadata) and re.search(r"clip_seconds.{1,9}20", metadata), metadata


def test_there_is_no_owner_by_default(dev_template: dict[str, Any]) -> None:
    (endpoint,) = (r for r in dev_template["Resources"].values() if r["Type"] == "AWS::SageMaker::Endpoint")
    assert [tag["Key"] for tag in endpoint["Properties"]["Tags"]] == ["environment", "service", "version"]


def test_each_topic_has_its_own_addresses(synthesise: Synthesise) -> None:
    template = synthesise(alarm_emails="on-call@example.com,a@example.com", error_emails="a@example.com")
    found = [item["Properties"] for item in template.find_resources("AWS::SNS::Subscription").values()]
    assert sorted((plain(item["TopicArn"]), item["Endpoint"]) for item in found) == [
        ("<NotificationsAlarmTopic>", "a@example.com"),
        ("<NotificationsAlarmTopic>", "on-call@example.com"),
        ("<NotificationsErrorTopic>", "a@example.com"),
    ]
    only_success = synthesise(success_emails="a@example.com")
    (found,) = only_success.find_resources("AWS::SNS::Subscription").values()
    assert plain(found["Properties"]["TopicArn"]) == "<NotificationsSuccessTopic>"
