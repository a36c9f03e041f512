"""The stack with all its options on: it deploys, its roles still manage, and what the options promise is there."""

from __future__ import annotations

import json
from collections.abc import Generator

import pytest
from probe_refusals import Refusals
from probed_stack import CLIENT, EMPTIER, SERVING, STAGING, ProbedStack, probed_stack, tools_on_path

from local_aws.process import LocalAws

pytestmark = pytest.mark.timeout(900)

EXTERNAL = "somebodys-bucket"
SETTINGS = {
    "encryption": "customer-managed",
    "external_buckets": EXTERNAL,
    "fallback_instance_types": "ml.g6.2xlarge",
    "permissions_boundary": "teams/audio",
    "tags": "team=audio",
    "vpc_subnet_ids": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "vpc_security_group_ids": "sg-0123456789abcdef0",
    # On a day that does not come while the test runs.
    "warm_up_schedule": "cron(45 8 1 JAN ? 2199)",
    "warm_up_end_schedule": "cron(0 18 1 JAN ? 2199)",
}
SERVICES = ("kms", "lambda", "logs", "s3", "sagemaker", "sns", "sts")


def prepare(aws: LocalAws) -> None:
    """Make the permissions boundary and the external bucket, which the account has before the stack comes."""
    allow = {"Effect": "Allow", "Action": [f"{service}:*" for service in SERVICES], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    aws.client("iam").create_policy(PolicyName="audio", Path="/teams/", PolicyDocument=document)
    aws.client("s3").create_bucket(Bucket=EXTERNAL)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[ProbedStack]:
    """One deployment with all options on."""
    with tools_on_path(), probed_stack(tmp_path_factory.mktemp("options"), SETTINGS, prepare) as deployed:
        yield deployed


@pytest.mark.parametrize("holder", [STAGING, SERVING, CLIENT, EMPTIER])
def test_roles_manage_within_their_boundary(stack: ProbedStack, holder: str) -> None:
    probes = stack.probes[holder] if holder != SERVING else [stack.serving.answers, stack.serving.refuses]
    assert stack.first_failure(holder, probes) is None


def test_audio_goes_to_the_external_bucket_that_a_request_names(stack: ProbedStack) -> None:
    refusals = Refusals(stack.aws, stack.role(SERVING))
    location = stack.serving.make_audio(refusals, "to-somebody", bucket_name=EXTERNAL)
    assert location.startswith(f"s3://{EXTERNAL}/audio/to-somebody/")


def test_every_role_has_the_boundary_and_the_key_is_in_use(stack: ProbedStack) -> None:
    iam, s3 = stack.aws.client("iam"), stack.aws.client("s3")
    for holder in (STAGING, SERVING, EMPTIER):
        role = iam.get_role(RoleName=stack.role(holder))["Role"]
        assert role["PermissionsBoundary"]["PermissionsBoundaryArn"].endswith(":policy/teams/audio")
    (key,) = stack.aws.client("kms").list_keys()["Keys"]
    for bucket in ("StorageArtifactBucket", "StorageInputBucket", "StorageOutputBucket"):
        found = s3.get_bucket_encryption(Bucket=stack.rights.physical(bucket))["ServerSideEncryptionConfiguration"]
        rule = found["Rules"][0]["ApplyServerSideEncryptionByDefault"]
        assert rule == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["KeyArn"]}


def test_schedule_is_deployed_and_the_fleet_may_still_go_to_zero(stack: ProbedStack) -> None:
    scaling = stack.aws.client("application-autoscaling")
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    actions = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 1)
    assert {a["ScheduledActionName"]: a["ScalableTargetAction"]["MinCapacity"] for a in actions} == {
        "WarmUp": 1,
        "WarmUpEnd": 0,
    }
