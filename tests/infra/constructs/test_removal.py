"""What `cdk destroy` leaves behind (nothing in dev, user data in prod), and what expires before that."""

from collections.abc import Mapping
from typing import Any

import pytest
from aws_cdk.assertions import Template

from tests.infra.templates import Synthesise


def buckets(template: Template) -> dict[str, Mapping[str, Any]]:
    """Return each bucket by purpose: Artifact, Input, Output."""
    found = template.find_resources("AWS::S3::Bucket")
    return {logical_id.removeprefix("Storage").split("Bucket")[0]: bucket for logical_id, bucket in found.items()}


@pytest.mark.parametrize(
    ("env", "policies"),
    [
        ("dev", {"Artifact": "Delete", "Input": "Delete", "Output": "Delete"}),
        ("prod", {"Artifact": "Delete", "Input": "Retain", "Output": "Retain"}),
    ],
)
def test_buckets_are_emptied_and_deleted_except_user_data_in_prod(
    synthesise: Synthesise, env: str, policies: dict[str, str]
) -> None:
    template = synthesise(env=env)
    assert {name: bucket["DeletionPolicy"] for name, bucket in buckets(template).items()} == policies
    emptied = template.find_resources("Custom::S3AutoDeleteObjects")
    assert len(emptied) == list(policies.values()).count("Delete")


def test_every_log_group_expires_and_is_deleted_with_the_stack(dev_template: dict[str, Any]) -> None:
    groups = [r for r in dev_template["Resources"].values() if r["Type"] == "AWS::Logs::LogGroup"]
    assert [group["DeletionPolicy"] for group in groups] == ["Delete"] * 4
    assert [group["Properties"]["RetentionInDays"] for group in groups] == [30] * 4


def test_every_function_writes_to_a_log_group_of_the_stack(dev_template: dict[str, Any]) -> None:
    resources = dev_template["Resources"]
    functions = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::Lambda::Function"]
    assert len(functions) == 3
    for function in functions:
        assert resources[function["LoggingConfig"]["LogGroup"]["Ref"]]["Type"] == "AWS::Logs::LogGroup"


def test_endpoint_is_deleted_before_its_log_group_role_and_buckets(dev_template: dict[str, Any]) -> None:
    resources = dev_template["Resources"]
    (endpoint,) = (r for r in resources.values() if r["Type"] == "AWS::SageMaker::Endpoint")
    first = [resources[logical_id] for logical_id in endpoint["DependsOn"]]
    assert [r["Properties"]["LogGroupName"] for r in first if r["Type"] == "AWS::Logs::LogGroup"] == [
        "/aws/sagemaker/Endpoints/musicgen-dev"
    ]
    assert {"AWS::IAM::Role", "AWS::IAM::Policy"} <= {r["Type"] for r in first}
    assert [r["Type"] for r in first].count("Custom::S3AutoDeleteObjects") == 3


def test_log_group_is_kept_by_a_resource_between_it_and_the_endpoint(dev_template: dict[str, Any]) -> None:
    resources = dev_template["Resources"]
    (endpoint,) = (r for r in resources.values() if r["Type"] == "AWS::SageMaker::Endpoint")
    ((name, keeper),) = ((n, r) for n, r in resources.items() if r["Type"] == "Custom::EndpointLogs")
    assert name in endpoint["DependsOn"]
    group = resources[keeper["Properties"]["LogGroupName"]["Ref"]]
    assert group["Properties"]["LogGroupName"] == "/aws/sagemaker/Endpoints/musicgen-dev"
    first = {resources[logical_id]["Type"] for logical_id in keeper["DependsOn"]}
    assert {"AWS::Lambda::Function", "AWS::IAM::Role", "AWS::IAM::Policy", "AWS::Logs::LogGroup"} <= first


def test_staged_model_is_deleted_before_its_function_policy_and_bucket(
    dev_template: dict[str, Any],
) -> None:
    resources = dev_template["Resources"]
    (staged,) = (r for r in resources.values() if r["Type"] == "Custom::StagedModel")
    first = {resources[logical_id]["Type"] for logical_id in staged["DependsOn"]}
    assert {"AWS::Lambda::Function", "AWS::IAM::Policy", "Custom::S3AutoDeleteObjects"} <= first


def test_inputs_and_outputs_expire_and_unfinished_uploads_are_aborted(synthesise: Synthesise) -> None:
    template = synthesise(input_retention_days="3", output_retention_days="9")
    expiring: dict[str, dict[str, int]] = {}
    for name, bucket in buckets(template).items():
        unfinished, *rules = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
        assert unfinished["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
        expiring[name] = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules}
    runs = {"models/MusicGen-dev/StagedModel/runs/": 1}  # records of staging runs (docs/staging.md)
    outputs = {"out/": 9, "failures/": 9, "audio/": 9, "cancel/": 1}
    assert expiring == {"Artifact": runs, "Input": {"in/": 3}, "Output": outputs}
