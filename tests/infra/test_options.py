"""Options of the account: a customer-managed key, a private network, a permissions boundary, a warm-up schedule."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Template

from tests.infra.templates import (
    NETWORK,
    SCHEDULE,
    Synthesise,
    all_properties,
    as_list,
    lint,
    plain,
    policy_statements,
    properties,
)

USE = {"kms:Decrypt", "kms:GenerateDataKey"}


@pytest.fixture(scope="module")
def encrypted(synthesise: Synthesise) -> Template:
    """The stack with a customer-managed key."""
    return synthesise(encryption="customer-managed")


def test_default_creates_no_key(synthesise: Synthesise) -> None:
    assert not synthesise().find_resources("AWS::KMS::Key")


def test_buckets_topics_and_async_output_are_encrypted_with_the_customers_key(encrypted: Template) -> None:
    (key,) = encrypted.find_resources("AWS::KMS::Key")
    arn = {"Fn::GetAtt": [key, "Arn"]}
    buckets, topics = all_properties(encrypted, "AWS::S3::Bucket"), all_properties(encrypted, "AWS::SNS::Topic")
    assert (len(buckets), len(topics)) == (3, 3)
    for bucket in buckets:
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}
        assert rule["BucketKeyEnabled"] is True
    assert [topic["KmsMasterKeyId"] for topic in topics] == [arn] * 3
    config = properties(encrypted, "AWS::SageMaker::EndpointConfig")
    assert config["AsyncInferenceConfig"]["OutputConfig"]["KmsKeyId"] == arn
    assert "KmsKeyId" not in config  # for the disks; g5 and g6 reject it


def test_key_rotates_and_is_used_only_through_s3_sns_and_alarms(encrypted: Template) -> None:
    key = properties(encrypted, "AWS::KMS::Key")
    assert key["EnableKeyRotation"] is True
    administer, use, alarms = key["KeyPolicy"]["Statement"]
    cryptography = ("Encrypt", "Decrypt", "GenerateDataKey", "CreateGrant", "Sign", "*")
    assert not [action for action in administer["Action"] if any(word in action for word in cryptography)]
    assert "kms:PutKeyPolicy" in administer["Action"]
    assert set(use["Action"]) == set(alarms["Action"]) == USE
    conditions = use["Condition"]["StringEquals"]
    assert conditions["kms:CallerAccount"] == {"Ref": "AWS::AccountId"}
    services = [plain(service) for service in conditions["kms:ViaService"]]
    assert services == ["s3.us-east-1.<URLSuffix>", "sns.us-east-1.<URLSuffix>"]
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert alarms["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    source = plain(alarms["Condition"]["ArnLike"]["aws:SourceArn"])
    assert source == "arn:aws:cloudwatch:us-east-1:<AccountId>:alarm:*"


@pytest.mark.parametrize(
    ("resource_type", "prefix", "granted"),
    [
        ("AWS::IAM::Policy", "StagedModelRole", [(USE, {"<StorageArtifactBucket>"})]),
        (
            "AWS::IAM::Policy",
            "AsyncEndpoint",
            [
                ({"kms:Decrypt"}, {"<StorageArtifactBucket>", "<StorageInputBucket>"}),
                (USE, {"<StorageOutputBucket>"}),
                (USE, {"<NotificationsSuccessTopic>", "<NotificationsErrorTopic>"}),
            ],
        ),
        (
            "AWS::IAM::ManagedPolicy",
            "ClientAccess",
            [(USE, {"<StorageInputBucket>"}), (USE, {"<StorageOutputBucket>"})],
        ),
    ],
)
def test_each_role_uses_the_key_only_for_its_own_buckets_and_topics(
    encrypted: Template,
    resource_type: str,
    prefix: str,
    granted: list[tuple[set[str], set[str]]],
) -> None:
    found: list[tuple[set[str], set[str]]] = []
    document = properties(encrypted, resource_type, prefix)["PolicyDocument"]
    for statement in document["Statement"]:
        if "kms:" not in str(statement["Action"]):
            continue
        assert plain(statement["Resource"]) == "<EncryptionKey>"
        (tests,) = statement["Condition"].values()
        (contexts,) = tests.values()
        found.append((set(as_list(statement["Action"])), {plain(arn).removesuffix("/*") for arn in contexts}))
    assert found == granted


@pytest.mark.parametrize(("removal_policy", "deletion_policy"), [("destroy", "Delete"), ("retain", "Retain")])
def test_key_is_retained_if_the_buckets_are(synthesise: Synthesise, removal_policy: str, deletion_policy: str) -> None:
    template = synthesise(encryption="customer-managed", removal_policy=removal_policy)
    (key,) = template.find_resources("AWS::KMS::Key").values()
    assert key["DeletionPolicy"] == deletion_policy


def test_containers_run_in_the_given_subnets_and_security_groups(synthesise: Synthesise) -> None:
    template = synthesise(**NETWORK)
    model = properties(template, "AWS::SageMaker::Model")
    assert model["VpcConfig"] == {
        "Subnets": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        "SecurityGroupIds": ["sg-0123456789abcdef0"],
    }
    assert all("VpcConfig" not in function for function in all_properties(template, "AWS::Lambda::Function"))
    statements = policy_statements(template, "AsyncEndpoint", "ec2")
    (create,) = (statement for statement in statements if statement["Action"] == "ec2:CreateNetworkInterface")
    resources = {plain(arn).removeprefix("arn:aws:ec2:us-east-1:<AccountId>:") for arn in create["Resource"]}
    assert resources == {
        "network-interface/*",
        "subnet/subnet-0123456789abcdef0",
        "subnet/subnet-0123456789abcdef1",
        "security-group/sg-0123456789abcdef0",
    }


def test_default_network_needs_no_ec2_permissions(dev_template: dict[str, Any]) -> None:
    assert "ec2:" not in json.dumps(dev_template)
    assert "VpcConfig" not in json.dumps(dev_template)


def test_permissions_boundary_applies_to_every_role(synthesise: Synthesise) -> None:
    roles = all_properties(synthesise(permissions_boundary="teams/audio-boundary"), "AWS::IAM::Role")
    assert len(roles) == 4
    boundaries = {plain(role["PermissionsBoundary"]) for role in roles}
    assert boundaries == {"arn:aws:iam::<AccountId>:policy/teams/audio-boundary"}


def test_schedule_raises_the_minimum_capacity_and_lowers_it_again(synthesise: Synthesise) -> None:
    template = synthesise(**SCHEDULE, max_capacity="3")
    target = properties(template, "AWS::ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 3)
    assert target["ScheduledActions"] == [
        {
            "ScheduledActionName": "WarmUp",
            "Schedule": "cron(45 8 ? * MON-FRI *)",
            "Timezone": "Europe/Berlin",
            "ScalableTargetAction": {"MinCapacity": 1, "MaxCapacity": 3},
        },
        {
            "ScheduledActionName": "WarmUpEnd",
            "Schedule": "cron(0 18 ? * MON-FRI *)",
            "Timezone": "Europe/Berlin",
            "ScalableTargetAction": {"MinCapacity": 0, "MaxCapacity": 3},
        },
    ]


@pytest.mark.parametrize(
    ("given", "requests", "target"),
    [
        ({"fallback_instance_types": "ml.g6e.2xlarge"}, 11, 11),
        ({"instance_type": "ml.m7i.4xlarge", "model_id": "facebook/musicgen-medium"}, 5, 5),
        ({"weight_quantisation": "int8", "max_concurrent_requests": "9", "target_backlog_per_instance": "30"}, 9, 30),
    ],
)
def test_sagemaker_the_container_and_the_scaling_target_have_one_number(
    synthesise: Synthesise, given: dict[str, str], requests: int, target: int
) -> None:
    template = synthesise(**given)
    client = properties(template, "AWS::SageMaker::EndpointConfig")["AsyncInferenceConfig"]["ClientConfig"]
    variables = properties(template, "AWS::SageMaker::Model")["PrimaryContainer"]["Environment"]
    policy = properties(template, "AWS::ApplicationAutoScaling::ScalingPolicy", "ScaleToZeroFollowBacklog")
    assert client == {"MaxConcurrentInvocationsPerInstance": requests}
    assert variables["MUSICGEN_MAX_CONCURRENT_REQUESTS"] == str(requests)
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == target


def test_no_schedule_by_default(dev_template: dict[str, Any]) -> None:
    assert "ScheduledActions" not in json.dumps(dev_template)


@pytest.mark.parametrize(
    "given",
    [
        {"env": "prod"},
        {"encryption": "customer-managed", "tags": "team=audio"},
        {"scaling": "off", "alarm_emails": "a@example.com", "error_emails": "b@example.com"},
        {**NETWORK, **SCHEDULE, "permissions_boundary": "bounds", "fallback_instance_types": "ml.g6.2xlarge"},
    ],
)
def test_cfn_lint_accepts_every_option(
    synthesise: Synthesise, given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "stack.template.json"
    template.write_text(json.dumps(synthesise(**given).to_json()), encoding="utf-8")
    assert lint([template], monkeypatch) == []
