"""The options that change the template: a key of one's own, a private network, a permissions boundary, a schedule."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Template

Synthesise = Callable[..., Template]
Plain = Callable[[Any], str]

NETWORK = {
    "vpc_subnet_ids": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "vpc_security_group_ids": "sg-0123456789abcdef0",
}
SCHEDULE = {
    "warm_up_schedule": "cron(45 8 ? * MON-FRI *)",
    "warm_up_end_schedule": "cron(0 18 ? * MON-FRI *)",
    "warm_up_timezone": "Europe/Berlin",
}
USES = {"kms:Decrypt", "kms:GenerateDataKey"}
ROOT = Path(__file__).resolve().parents[2]


def resources(template: Template, resource_type: str) -> dict[str, dict[str, Any]]:
    """Properties by logical id."""
    return {k: r.get("Properties", {}) for k, r in template.find_resources(resource_type).items()}


def key_statements(template: Template, resource_type: str, prefix: str) -> list[dict[str, Any]]:
    """The statements about KMS of the one policy whose logical id begins so."""
    (policy,) = (p for k, p in resources(template, resource_type).items() if k.startswith(prefix))
    return [s for s in policy["PolicyDocument"]["Statement"] if "kms:" in str(s["Action"])]


@pytest.fixture(scope="module")
def encrypted(synthesise: Synthesise) -> Template:
    """The stack with a customer-managed key."""
    return synthesise(encryption="customer-managed")


def test_default_makes_no_key(synthesise: Synthesise) -> None:
    assert not resources(synthesise(), "AWS::KMS::Key")


def test_buckets_topics_and_async_output_are_encrypted_with_the_customers_key(encrypted: Template) -> None:
    (key,) = resources(encrypted, "AWS::KMS::Key")
    arn = {"Fn::GetAtt": [key, "Arn"]}
    buckets, topics = resources(encrypted, "AWS::S3::Bucket"), resources(encrypted, "AWS::SNS::Topic")
    assert (len(buckets), len(topics)) == (3, 3)
    for bucket in buckets.values():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}
        assert rule["BucketKeyEnabled"] is True
    assert [topic["KmsMasterKeyId"] for topic in topics.values()] == [arn] * 3
    (config,) = resources(encrypted, "AWS::SageMaker::EndpointConfig").values()
    assert config["AsyncInferenceConfig"]["OutputConfig"]["KmsKeyId"] == arn
    assert "KmsKeyId" not in config  # of the disks, which g5 and g6 refuse


def test_key_is_used_through_s3_sns_and_alarms_only_and_rotates(encrypted: Template, plain: Plain) -> None:
    (key,) = resources(encrypted, "AWS::KMS::Key").values()
    assert key["EnableKeyRotation"] is True
    administer, use, alarms = key["KeyPolicy"]["Statement"]
    cryptography = ("Encrypt", "Decrypt", "GenerateDataKey", "CreateGrant", "Sign", "*")
    assert not [action for action in administer["Action"] if any(word in action for word in cryptography)]
    assert "kms:PutKeyPolicy" in administer["Action"]
    assert set(use["Action"]) == set(alarms["Action"]) == USES
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
        ("AWS::IAM::Policy", "StagedModelRole", [(USES, {"<StorageArtifactBucket>"})]),
        (
            "AWS::IAM::Policy",
            "AsyncEndpoint",
            [
                ({"kms:Decrypt"}, {"<StorageArtifactBucket>", "<StorageInputBucket>"}),
                (USES, {"<StorageOutputBucket>"}),
                (USES, {"<NotificationsSuccessTopic>", "<NotificationsErrorTopic>"}),
            ],
        ),
        (
            "AWS::IAM::ManagedPolicy",
            "ClientAccess",
            [(USES, {"<StorageInputBucket>"}), ({"kms:Decrypt"}, {"<StorageOutputBucket>"})],
        ),
    ],
)
def test_each_role_uses_the_key_for_its_own_buckets_and_topics(
    encrypted: Template,
    plain: Plain,
    resource_type: str,
    prefix: str,
    granted: list[tuple[set[str], set[str]]],
) -> None:
    found: list[tuple[set[str], set[str]]] = []
    for statement in key_statements(encrypted, resource_type, prefix):
        assert plain(statement["Resource"]) == "<EncryptionKey>"
        (tests,) = statement["Condition"].values()
        (contexts,) = tests.values()
        actions = statement["Action"]
        found.append(
            (
                {actions} if isinstance(actions, str) else set(actions),
                {plain(arn).removesuffix("/*") for arn in contexts},
            )
        )
    assert found == granted


@pytest.mark.parametrize(("removal_policy", "kept"), [("destroy", "Delete"), ("retain", "Retain")])
def test_key_stays_as_long_as_what_it_encrypts(synthesise: Synthesise, removal_policy: str, kept: str) -> None:
    template = synthesise(encryption="customer-managed", removal_policy=removal_policy)
    (key,) = template.find_resources("AWS::KMS::Key").values()
    assert key["DeletionPolicy"] == kept


def test_containers_run_in_the_given_subnets_and_security_groups(synthesise: Synthesise, plain: Plain) -> None:
    template = synthesise(**NETWORK)
    (model,) = resources(template, "AWS::SageMaker::Model").values()
    assert model["VpcConfig"] == {
        "Subnets": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        "SecurityGroupIds": ["sg-0123456789abcdef0"],
    }
    assert all("VpcConfig" not in function for function in resources(template, "AWS::Lambda::Function").values())
    (policy,) = (p for k, p in resources(template, "AWS::IAM::Policy").items() if k.startswith("AsyncEndpoint"))
    (create,) = (s for s in policy["PolicyDocument"]["Statement"] if s["Action"] == "ec2:CreateNetworkInterface")
    places = {plain(arn).removeprefix("arn:aws:ec2:us-east-1:<AccountId>:") for arn in create["Resource"]}
    assert places == {
        "network-interface/*",
        "subnet/subnet-0123456789abcdef0",
        "subnet/subnet-0123456789abcdef1",
        "security-group/sg-0123456789abcdef0",
    }


def test_default_network_needs_no_right_in_ec2(dev_template: dict[str, Any]) -> None:
    assert "ec2:" not in json.dumps(dev_template)
    assert "VpcConfig" not in json.dumps(dev_template)


def test_permissions_boundary_bounds_every_role(synthesise: Synthesise, plain: Plain) -> None:
    roles = resources(synthesise(permissions_boundary="teams/audio-boundary"), "AWS::IAM::Role")
    assert len(roles) == 3
    boundaries = {plain(role["PermissionsBoundary"]) for role in roles.values()}
    assert boundaries == {"arn:aws:iam::<AccountId>:policy/teams/audio-boundary"}


def test_schedule_keeps_one_instance_ready_and_lets_it_go(synthesise: Synthesise) -> None:
    template = synthesise(**SCHEDULE, max_capacity="3")
    (target,) = resources(template, "AWS::ApplicationAutoScaling::ScalableTarget").values()
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


@pytest.mark.parametrize(("given", "meant_to_idle"), [({}, 0), (SCHEDULE, 1)])
def test_idle_alarm_leaves_the_instance_that_is_kept_ready_alone(
    synthesise: Synthesise, given: dict[str, str], meant_to_idle: int
) -> None:
    alarms = resources(synthesise(**given), "AWS::CloudWatch::Alarm")
    (idle,) = (alarm for logical_id, alarm in alarms.items() if "IdleInstance" in logical_id)
    (expression,) = (metric["Expression"] for metric in idle["Metrics"] if "Expression" in metric)
    assert expression == f"IF(FILL(instances, 0) > {meant_to_idle} AND FILL(backlog, 0) == 0, 1, 0)"


def test_no_schedule_by_default(dev_template: dict[str, Any]) -> None:
    assert "ScheduledActions" not in json.dumps(dev_template)


@pytest.mark.parametrize(
    "given",
    [
        {"env": "prod"},
        {"encryption": "customer-managed", "tags": "team=audio"},
        {**NETWORK, **SCHEDULE, "permissions_boundary": "bounds", "fallback_instance_types": "ml.g6.2xlarge"},
    ],
)
def test_cfn_lint_accepts_every_option(synthesise: Synthesise, given: dict[str, str], tmp_path: Path) -> None:
    template = tmp_path / "stack.template.json"
    template.write_text(json.dumps(synthesise(**given).to_json()), encoding="utf-8")
    done = subprocess.run(["cfn-lint", str(template)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
