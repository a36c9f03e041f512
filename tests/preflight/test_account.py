"""Credentials, region, bootstrap, quotas, images and the deployed endpoint: healthy, and each fault."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError

from preflight.__main__ import make_target
from preflight.checks import BOOTSTRAP_VERSION, DEFAULT_QUALIFIER, check_credentials, check_region
from preflight.report import Status
from tests.preflight.account import COMMIT, Account, deploy_endpoint

OFFLINE = EndpointConnectionError(endpoint_url="https://x.amazonaws.com")


def test_a_healthy_account_passes_every_check(account: Account, hub: str) -> None:
    rows = account.check(hub_endpoint=hub)
    assert {row.status for row in rows.values()} == {Status.PASS}
    assert list(rows) == [
        "credentials", "region", "CDK bootstrap", "quota ml.g5.2xlarge", "container image", "host image",
        "private network", "deployed endpoint", "weights",
    ]  # fmt: skip


def test_every_failure_has_a_remedy(account: Account) -> None:
    account.quotas, account.default_quotas = {}, {"ml.g5.2xlarge": 0}
    account.refuse("ssm", "ParameterNotFound")
    rows = account.check(hub_endpoint="http://127.0.0.1:9")
    failures = [row for row in rows.values() if row.status is Status.FAIL]
    assert len(failures) == 3 and all(row.remedy for row in failures)


# ---- credentials and region ----


def test_credentials_of_another_account_fail(account: Account) -> None:
    row = account.check(account="210987654321")["credentials"]
    assert row.status is Status.FAIL
    assert "account must be 210987654321, got 123456789012" in row.detail


def test_no_credentials_fail_and_leave_only_the_hub_to_check(account: Account, hub: str) -> None:
    account.fail("sts", NoCredentialsError())
    rows = account.check(hub_endpoint=hub)
    assert rows.pop("credentials").status is Status.FAIL
    assert rows.pop("weights").status is Status.PASS
    assert {row.status for row in rows.values()} == {Status.UNKNOWN}
    assert account.calls == {"GetCallerIdentity"}


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch"])
def test_credentials_that_aws_rejects_fail(account: Account, code: str) -> None:
    account.refuse("sts", code)
    row = account.check()["credentials"]
    assert row.status is Status.FAIL and code in row.detail


def test_no_network_fails(account: Account) -> None:
    account.fail("sts", OFFLINE)
    row = account.check()["credentials"]
    assert row.status is Status.FAIL and "not reachable" in row.detail and "proxy" in row.remedy


def test_a_region_that_is_not_enabled_fails(account: Account) -> None:
    answer = {"Regions": [{"RegionName": "af-south-1", "OptInStatus": "not-opted-in"}]}
    account.answer("ec2.DescribeRegions", lambda: answer)
    row = account.check(region="af-south-1")["region"]
    assert row.status is Status.FAIL
    assert "aws account enable-region --region-name af-south-1" in row.remedy


def test_the_region_is_asked_of_one_that_every_account_has(account: Account) -> None:
    regions: dict[str, str] = {}

    class Session:
        """Notes each service's region."""

        region_name = "eu-west-1"
        get_partition_for_region = account.session.get_partition_for_region

        def client(self, service: str, region_name: str, **options: Any) -> Any:
            regions[service] = region_name
            return account.session.client(service, region_name=region_name, **options)

    (row,) = check_region(make_target({}, session=Session()))
    assert row.status is Status.PASS and row.detail == "eu-west-1 is enabled"
    assert regions == {"ec2": "us-east-1"}


# ---- bootstrap ----


def test_a_region_without_bootstrap_fails(account: Account) -> None:
    account.client("ssm").delete_parameter(Name="/cdk-bootstrap/hnb659fds/version")
    row = account.check()["CDK bootstrap"]
    assert row.status is Status.FAIL and "us-east-1 is not bootstrapped" in row.detail
    assert row.remedy == "npx cdk bootstrap aws://123456789012/us-east-1"


def test_an_old_bootstrap_fails(account: Account) -> None:
    account.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="5", Overwrite=True)
    row = account.check()["CDK bootstrap"]
    assert row.status is Status.FAIL and "at least 6, got 5" in row.detail


def test_another_qualifier_has_its_own_bootstrap(account: Account) -> None:
    row = account.check(**{"@aws-cdk/core:bootstrapQualifier": "own"})["CDK bootstrap"]
    assert row.status is Status.FAIL and "/cdk-bootstrap/own/version" in row.detail
    assert "--qualifier own" in row.remedy


def test_the_bootstrap_version_is_the_one_that_cdk_asks_for() -> None:
    from aws_cdk import App, CfnOutput, Stack

    app = App(analytics_reporting=False, builtin_cloud_formation_validation=False)
    stack = Stack(app, "Probe")
    CfnOutput(stack, "Any", value="x")
    # Read from the file: jsii knows the manifest's type only where another test imported its module.
    manifest = json.loads((Path(app.synth().directory) / "manifest.json").read_text())
    properties = manifest["artifacts"]["Probe"]["properties"]
    assert properties["requiresBootstrapStackVersion"] == BOOTSTRAP_VERSION
    assert properties["bootstrapStackVersionSsmParameter"] == f"/cdk-bootstrap/{DEFAULT_QUALIFIER}/version"


# ---- quotas ----


def test_a_quota_for_the_fleet_alone_fails_because_an_update_needs_one_more(account: Account) -> None:
    account.quotas["ml.g5.2xlarge"] = 1
    row = account.check()["quota ml.g5.2xlarge"]
    assert row.status is Status.FAIL
    assert "2 needed" in row.detail and "1 granted" in row.detail and "no request is open" in row.detail
    assert "request-service-quota-increase --region us-east-1 --service-code sagemaker --quota-code L-00000000" in (
        row.remedy
    )
    assert "--desired-value 2" in row.remedy
    assert "without GPU: -c model_id=facebook/musicgen-small -c instance_type=ml.c7i.4xlarge" in row.remedy


def test_the_needed_quota_follows_max_capacity(account: Account) -> None:
    account.quotas["ml.g5.2xlarge"] = 4
    assert account.check(max_capacity="3")["quota ml.g5.2xlarge"].status is Status.PASS
    assert account.check(max_capacity="4")["quota ml.g5.2xlarge"].status is Status.FAIL


def test_a_quota_that_was_never_raised_is_the_default(account: Account) -> None:
    account.quotas, account.default_quotas = {}, {"ml.g5.2xlarge": 0}
    row = account.check()["quota ml.g5.2xlarge"]
    assert row.status is Status.FAIL and "0 granted" in row.detail


def test_each_fallback_type_has_its_quota(account: Account) -> None:
    rows = account.check(fallback_instance_types="ml.g6.2xlarge,ml.g5.xlarge")
    found = {name: row.status for name, row in rows.items() if name.startswith("quota")}
    assert found == {
        "quota ml.g5.2xlarge": Status.PASS,
        "quota ml.g6.2xlarge": Status.FAIL,
        "quota ml.g5.xlarge": Status.PASS,
    }


def test_an_open_request_is_shown(account: Account) -> None:
    account.quotas["ml.g5.2xlarge"] = 0
    account.requests = [{"Status": "CASE_OPENED", "DesiredValue": 2.0}]
    assert "a request for 2 is open (CASE_OPENED)" in account.check()["quota ml.g5.2xlarge"].detail


def test_requests_that_may_not_be_read_leave_the_quota_readable(account: Account) -> None:
    account.quotas["ml.g5.2xlarge"] = 0
    account.refuse("service-quotas.ListRequestedServiceQuotaChangeHistoryByQuota", "AccessDeniedException")
    row = account.check()["quota ml.g5.2xlarge"]
    assert row.status is Status.FAIL
    assert "servicequotas:ListRequestedServiceQuotaChangeHistoryByQuota denied" in row.detail


def test_a_denied_quota_names_the_action(account: Account) -> None:
    account.refuse("service-quotas", "AccessDeniedException")
    row = account.check()["quota"]
    assert row.status is Status.UNKNOWN
    assert "servicequotas:ListServiceQuotas is denied" in row.detail
    assert "allow servicequotas:ListServiceQuotas" in row.remedy


def test_a_quota_that_does_not_exist_is_not_known(account: Account) -> None:
    account.quotas = {}
    row = account.check()["quota ml.g5.2xlarge"]
    assert row.status is Status.UNKNOWN and "lists no `ml.g5.2xlarge for endpoint usage`" in row.detail


# ---- images ----


def test_a_tag_that_the_registry_lacks_fails(account: Account) -> None:
    ecr = account.client("ecr")
    repository = ecr.describe_repositories()["repositories"][0]["repositoryName"]
    images = ecr.list_images(repositoryName=repository)["imageIds"]
    ecr.batch_delete_image(repositoryName=repository, imageIds=images)
    row = account.check()["container image"]
    assert row.status is Status.FAIL and "image_registries.json" in row.remedy


def test_a_repository_that_the_registry_lacks_fails(account: Account) -> None:
    ecr = account.client("ecr")
    repository = ecr.describe_repositories()["repositories"][0]["repositoryName"]
    ecr.delete_repository(repositoryName=repository, force=True)
    assert account.check()["container image"].status is Status.FAIL


def test_a_registry_that_may_not_be_read_is_not_known(account: Account) -> None:
    account.refuse("ecr", "AccessDeniedException")
    row = account.check()["container image"]
    assert row.status is Status.UNKNOWN
    assert "is in the table" in row.detail and "ecr:BatchGetImage is denied" in row.detail


def test_the_host_image_of_the_family_is_shown(account: Account) -> None:
    assert "al2-ami-sagemaker-inference-gpu-3-1 for ml.g5.2xlarge" in account.check()["host image"].detail


# ---- the deployed endpoint ----


def test_the_deployed_instance_type_passes(account: Account) -> None:
    deploy_endpoint(account, "ml.g5.2xlarge", scaling=True)
    row = account.check()["deployed endpoint"]
    assert row.status is Status.PASS and "has ml.g5.2xlarge, as configured" in row.detail


def test_another_instance_type_fails_while_a_scalable_target_exists(account: Account) -> None:
    deploy_endpoint(account, "ml.g5.2xlarge", scaling=True)
    row = account.check(instance_type="ml.g5.xlarge", tags="a=b c")["deployed endpoint"]
    assert row.status is Status.FAIL
    revision = f"-c revision={COMMIT} -c 'tags=a=b c'"
    assert row.remedy.splitlines() == [
        f"npx cdk deploy -c env=dev {revision} -c scaling=off",
        f"then npx cdk deploy -c env=dev {revision} -c instance_type=ml.g5.xlarge",
    ]


def test_a_type_that_was_changed_in_cdk_json_is_put_back_first(account: Account) -> None:
    deploy_endpoint(account, "ml.g5.xlarge", scaling=True)
    row = account.check()["deployed endpoint"]
    assert row.status is Status.FAIL
    assert row.remedy.startswith("set instance_type ml.g5.xlarge and fallback_instance_types [] for dev in cdk.json")


def test_another_instance_type_passes_once_scaling_is_off(account: Account) -> None:
    deploy_endpoint(account, "ml.g5.2xlarge", scaling=False)
    row = account.check(instance_type="ml.g5.xlarge")["deployed endpoint"]
    assert row.status is Status.PASS and "scaling is off" in row.detail


# ---- what AWS may answer to any check ----

SERVICES = {
    "ec2": "region",
    "ssm": "CDK bootstrap",
    "service-quotas": "quota",
    "ecr": "container image",
    "sagemaker": "deployed endpoint",
}
ANSWERS = {
    "AccessDeniedException": (Status.UNKNOWN, "is denied to these credentials"),
    "UnauthorizedOperation": (Status.UNKNOWN, "is denied to these credentials"),
    "ThrottlingException": (Status.UNKNOWN, "throttles"),
    "ExpiredTokenException": (Status.FAIL, "have expired"),
    "UnrecognizedClientException": (Status.FAIL, "rejects the credentials"),
    "InternalFailure": (Status.UNKNOWN, "failed: InternalFailure"),
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("code", ANSWERS)
def test_an_error_becomes_the_checks_own_row(account: Account, hub: str, service: str, code: str) -> None:
    account.refuse(service, code)
    rows = account.check(hub_endpoint=hub)
    status, text = ANSWERS[code]
    assert rows[SERVICES[service]].status is status and text in rows[SERVICES[service]].detail
    others = {row.status for name, row in rows.items() if name not in (SERVICES[service], "private network")}
    assert others == {Status.PASS}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("error", [OFFLINE, ConnectTimeoutError(endpoint_url="https://x"), KeyError("Regions")])
def test_no_answer_becomes_the_checks_own_row(account: Account, service: str, error: Exception) -> None:
    account.fail(service, error)
    row = account.check()[SERVICES[service]]
    assert row.status is Status.UNKNOWN
    assert ("unexpected KeyError" if isinstance(error, KeyError) else "not reachable") in row.detail


def test_a_denied_identity_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Denied:
        """A session whose every call is denied."""

        region_name = "us-east-1"

        def client(self, *_: Any, **__: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetCallerIdentity")

    monkeypatch.delenv("AWS_REGION", raising=False)
    (row,) = check_credentials(make_target({}, session=Denied()))
    assert row.status is Status.FAIL and "sts:GetCallerIdentity is denied" in row.detail
