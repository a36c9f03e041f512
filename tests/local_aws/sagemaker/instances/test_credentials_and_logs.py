"""A container's credentials and the log stream of its output."""

import contextlib
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import CredentialRetrievalError

from conformance.behaviour import documented
from local_aws.emulator import clients
from local_aws.sagemaker.instances.container_logs import ContainerLogs
from local_aws.sagemaker.instances.execution_role import CredentialsServer, RoleSession
from tests.local_aws.helpers.endpoint_stack import ROLE_TRUST

ROLES = "https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html"


@pytest.fixture
def role(stack: Any) -> RoleSession:
    return RoleSession(
        stack.role, "us-east-1", clients.runtime(), source_arn="arn:aws:sagemaker:us-east-1:1:endpoint/e"
    )


@pytest.fixture
def server() -> Iterator[CredentialsServer]:
    server = CredentialsServer()
    yield server
    server.close()


@documented(ROLES)
def test_sdk_in_the_container_gets_the_roles_credentials(
    role: RoleSession, server: CredentialsServer, monkeypatch: pytest.MonkeyPatch, stack: Any
) -> None:
    """The container's SDK acts with the execution role that was passed to CreateModel."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.register(role).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    session: Any = boto3.Session(region_name="us-east-1")
    credentials = session.get_credentials()
    assert credentials.method == "container-role"
    remaining = credentials._expiry_time - datetime.now(UTC)
    assert timedelta(minutes=55) < remaining <= timedelta(hours=1)
    identity = session.client("sts", endpoint_url=clients.runtime().endpoint_url).get_caller_identity()
    assert identity["Arn"].endswith(f":assumed-role/{stack.name}-role/SageMaker")


@documented("https://docs.aws.amazon.com/sagemaker/latest/dg/security-confused-deputy-prevention.html")
def test_a_role_may_say_for_whom_sagemaker_assumes_it(stack: Any) -> None:
    """We recommend using the aws:SourceArn and aws:SourceAccount global condition keys to limit the permissions. Use
    aws:SourceArn if you want only one resource to be associated with the cross-service access."""
    mine, other = (f"arn:aws:sagemaker:us-east-1:{account}:endpoint/e" for account in ("123456789012", "999999999999"))
    accepted = [{"ArnLike": {"aws:SourceArn": mine}}, {"StringEquals": {"aws:SourceAccount": "123456789012"}}]
    refused = [{"ArnLike": {"aws:SourceArn": other}}, {"StringEquals": {"aws:SourceAccount": "999999999999"}}]
    for number, condition in enumerate(accepted + refused):
        trust: Any = json.loads(json.dumps(ROLE_TRUST))
        trust["Statement"][0]["Condition"] = condition
        name = f"{stack.name}-{number}"
        arn = clients.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"][
            "Arn"
        ]
        expectation = pytest.raises(CredentialRetrievalError) if condition in refused else contextlib.nullcontext()
        with expectation:
            RoleSession(arn, "us-east-1", clients.runtime(), source_arn=mine)


def test_credentials_need_the_containers_own_token(role: RoleSession, server: CredentialsServer) -> None:
    mine, other = server.register(role), server.register(role)

    def status(variables: dict[str, str], token: str) -> int:
        url = variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": token})) as response:
                return response.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert status(mine, mine["AWS_CONTAINER_AUTHORIZATION_TOKEN"]) == 200
    assert status(mine, other["AWS_CONTAINER_AUTHORIZATION_TOKEN"]) == 403
    assert status(mine, "") == 403
    server.revoke(mine)
    assert status(mine, mine["AWS_CONTAINER_AUTHORIZATION_TOKEN"]) == 403
    assert status(mine, "") == 403


class DeniedLogs:
    """A CloudWatch Logs client that is denied access to the log group."""

    class exceptions:  # noqa: N801 - boto3's name
        class ResourceNotFoundException(Exception):
            pass

    calls = 0

    def create_log_stream(self, **_: Any) -> None:
        from botocore.exceptions import ClientError

        self.calls += 1
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "CreateLogStream")


def test_output_without_log_permission_stays_in_the_file_and_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, eventually: Callable[..., Any]
) -> None:
    log, denied = tmp_path / "container.log", DeniedLogs()
    log.write_text("a line\n")

    class Role:
        def client(self, service: str) -> DeniedLogs:
            return denied

    role: Any = Role()
    with caplog.at_level(logging.WARNING):
        logs = ContainerLogs(log, role, "endpoint", "AllTraffic/i-1")
        eventually(lambda: denied.calls >= 2)
        logs.stop()
    assert log.read_text() == "a line\n"
    (record,) = caplog.records
    assert "AccessDeniedException" in record.getMessage()


def test_lines_are_sent_whole_and_in_order(role: RoleSession, stack: Any, tmp_path: Path) -> None:
    log = tmp_path / "container.log"
    lines = [f"line {number} \u266b" for number in range(3000)] + ["x" * 70_000, "", "last without newline"]
    log.write_text("\n".join(lines), encoding="utf-8")
    ContainerLogs(log, role, stack.name, "AllTraffic/i-1").stop()
    pages = clients.client("logs").get_paginator("filter_log_events")
    group = f"/aws/sagemaker/Endpoints/{stack.name}"
    events = [event["message"] for page in pages.paginate(logGroupName=group) for event in page["events"]]
    assert events == [*lines[:3000], "x" * 65_536, "last without newline"]
