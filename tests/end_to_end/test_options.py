"""The stack with all options on: it deploys, its roles still work, and each option has its effect.

It is deployed with a tarball first, and then updated to uncompressed files.
"""

import json
from collections.abc import Generator

import pytest
from botocore.exceptions import ClientError

from tests.end_to_end.rights.access_denials import AccessDenials
from tests.end_to_end.rights.deployed_permissions import Permission
from tests.end_to_end.rights.probed_stack import (
    CLIENT,
    EMPTIER,
    SERVING,
    STAGING,
    Account,
    ProbedStack,
    probed_stack,
    tools_on_path,
)

pytestmark = pytest.mark.timeout(900)

EXTERNAL = "external-audio-bucket"
SETTINGS = {
    "encryption": "customer-managed",
    "external_buckets": EXTERNAL,
    "fallback_instance_types": "ml.g6.2xlarge",
    "packaging": "uncompressed",
    "permissions_boundary": "teams/audio",
    "tags": "team=audio",
    "vpc_subnet_ids": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "vpc_security_group_ids": "sg-0123456789abcdef0",
    # A day that is not during the test.
    "warm_up_schedule": "cron(45 8 1 JAN ? 2199)",
    "warm_up_end_schedule": "cron(0 18 1 JAN ? 2199)",
}
SERVICES = ("kms", "lambda", "logs", "s3", "sagemaker", "secretsmanager", "sns", "sts")
TOKEN = "hf_a-secret-token"


def prepare(account: Account) -> dict[str, str]:
    """Create the permissions boundary, the external bucket and the token's secret, which the stack expects."""
    aws = account.aws
    allow = {"Effect": "Allow", "Action": [f"{service}:*" for service in SERVICES], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    aws.client("iam").create_policy(PolicyName="audio", Path="/teams/", PolicyDocument=document)
    aws.client("s3").create_bucket(Bucket=EXTERNAL)
    secret = aws.client("secretsmanager").create_secret(Name="hub-token", SecretString=TOKEN)
    return {"token_secret_arn": secret["ARN"]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[ProbedStack]:
    """One deployment with all options on, for all tests in this module."""
    folder, first = tmp_path_factory.mktemp("options"), {"packaging": "tarball"}
    with tools_on_path(), probed_stack(folder, SETTINGS, prepare, token=TOKEN, first=first) as deployed:
        yield deployed


@pytest.mark.parametrize("principal", [STAGING, SERVING, CLIENT, EMPTIER])
def test_roles_work_within_their_boundary(stack: ProbedStack, principal: str) -> None:
    probes = (
        stack.probes[principal]
        if principal != SERVING
        else [stack.serving.serves_a_request, stack.serving.reports_an_invalid_request]
    )
    assert stack.first_failure(principal, probes) is None


def test_model_is_served_from_the_files_under_its_prefix(stack: ProbedStack) -> None:
    sagemaker, url = stack.aws.client("sagemaker"), stack.outputs["ModelDataUrl"]
    (listed,) = sagemaker.list_models()["Models"]
    container = sagemaker.describe_model(ModelName=listed["ModelName"])["PrimaryContainer"]
    assert container["ModelDataSource"]["S3DataSource"]["S3Uri"] == url
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    keys = [item["Key"] for item in stack.aws.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    names = {key.removeprefix(prefix) for key in keys if key.startswith(prefix)}
    assert {"config.json", "model.safetensors", "musicgen-manifest.json", "code/inference.py"} <= names
    left = [key for key in keys if not key.startswith(prefix) and "/runs/" not in key]
    assert left == [], "the previous tarball must be deleted"


@pytest.mark.parametrize(
    ("permission", "probe", "sentence"),
    [
        (Permission(STAGING, "secretsmanager:GetSecretValue", "<secret>"), 0, ":secret:hub-token-"),
        (Permission(SERVING, "s3:ListBucket", "<StorageArtifactBucket>"), -1, "Failed"),
    ],
    ids=["token", "listing"],
)
def test_permission_that_an_option_adds_is_needed(
    stack: ProbedStack, permission: Permission, probe: int, sentence: str
) -> None:
    given = next(
        r for r in stack.permissions.all() if (r.principal, r.action) == (permission.principal, permission.action)
    )
    assert given.resource == permission.resource or ":secret:hub-token-" in given.resource
    with stack.permissions.without([given]):
        failure = stack.first_failure(permission.principal, [stack.probes[permission.principal][probe]])
    assert failure is not None
    assert sentence in failure


def test_gated_model_needs_the_token(stack: ProbedStack) -> None:
    assert "is gated or private: the Hub answered 401" in stack.staging.creation_failure(without=["TokenSecretArn"])


def test_other_secrets_cannot_be_read(stack: ProbedStack) -> None:
    stack.aws.client("secretsmanager").create_secret(Name="hub-token-of-others", SecretString="x")
    own = stack.aws.client_as("secretsmanager", *stack.keys(STAGING))
    assert own.get_secret_value(SecretId=stack.staged["TokenSecretArn"])["SecretString"] == TOKEN
    with pytest.raises(ClientError, match="AccessDenied"):
        own.get_secret_value(SecretId="hub-token-of-others")


def test_token_is_only_in_its_secret(stack: ProbedStack) -> None:
    template = json.dumps(stack.aws.client("cloudformation").get_template(StackName="MusicGen-dev")["TemplateBody"])
    logs = stack.aws.client("logs")
    group = stack.permissions.physical("StagedModelLogs")
    lines = [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]
    assert lines
    assert TOKEN not in template + "".join(lines) + stack.aws.log_path.read_text(errors="replace")


def test_audio_goes_to_the_external_bucket_named_in_the_request(stack: ProbedStack) -> None:
    denials = AccessDenials(stack.aws, stack.role(SERVING))
    location = stack.serving.make_clip(denials, "to-external-bucket", bucket_name=EXTERNAL)
    assert location.startswith(f"s3://{EXTERNAL}/audio/to-external-bucket/")


def test_every_role_has_the_boundary_and_every_bucket_uses_the_key(stack: ProbedStack) -> None:
    iam, s3 = stack.aws.client("iam"), stack.aws.client("s3")
    for principal in (STAGING, SERVING, EMPTIER):
        role = iam.get_role(RoleName=stack.role(principal))["Role"]
        assert role["PermissionsBoundary"]["PermissionsBoundaryArn"].endswith(":policy/teams/audio")
    (key,) = stack.aws.client("kms").list_keys()["Keys"]
    for bucket in ("StorageArtifactBucket", "StorageInputBucket", "StorageOutputBucket"):
        found = s3.get_bucket_encryption(Bucket=stack.permissions.physical(bucket))["ServerSideEncryptionConfiguration"]
        rule = found["Rules"][0]["ApplyServerSideEncryptionByDefault"]
        assert rule == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["KeyArn"]}


def test_schedule_is_deployed_and_minimum_capacity_stays_zero(stack: ProbedStack) -> None:
    scaling = stack.aws.client("application-autoscaling")
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    actions = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 1)
    assert {a["ScheduledActionName"]: a["ScalableTargetAction"]["MinCapacity"] for a in actions} == {
        "WarmUp": 1,
        "WarmUpEnd": 0,
    }
