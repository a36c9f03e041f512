# jsii names parameters of a class and of the interface that it implements differently
# pyright: reportArgumentType=false
"""app.py as the CDK CLI runs it: in a process with the context in its environment."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Validations
from aws_cdk import aws_iam as iam
from cdk_nag import AwsSolutionsChecks

from infra.config import from_context
from infra.stack import MusicGenStack
from tests.infra.templates import NETWORK, SCHEDULE

ROOT = Path(__file__).resolve().parents[2]


def run_app(context: dict[str, Any], out: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CDK_OUTDIR": str(out), "CDK_CONTEXT_JSON": json.dumps(context), **variables}
    return subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_app_writes_the_template_for_the_profiles_region(cdk_context: dict[str, Any], tmp_path: Path) -> None:
    context: dict[str, Any] = {**cdk_context, "aws:cdk:bundling-stacks": [], "alarm_emails": "a@example.com"}
    done = run_app(context, tmp_path, CDK_DEFAULT_REGION="eu-west-1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    template = json.loads((tmp_path / "MusicGen-dev.template.json").read_text(encoding="utf-8"))
    assert ".ecr.eu-west-1." in json.dumps(template)


def test_warnings_name_what_may_surprise(cdk_context: dict[str, Any], tmp_path: Path) -> None:
    done = run_app(
        {
            **cdk_context,
            "aws:cdk:bundling-stacks": [],
            "region": "us-gov-west-1",
            "warm_up_schedule": "cron(0 6 1 * ? *)",
            "warm_up_end_schedule": "cron(0 20 1 * ? *)",
        },
        tmp_path,
        CDK_VALIDATION="false",  # the other tests have it; it takes most of the synth's time
    )
    assert done.returncode == 0, done.stderr
    assert "whether SageMaker offers ml.g5.2xlarge for endpoints in us-gov-west-1 is not known here" in done.stderr
    assert "the alarm IdleInstance ignores one idle instance at all times" in done.stderr
    assert "no address gets the alarms: set alarm_emails, or subscribe to the topic in" in done.stderr


def test_invalid_configuration_exits_with_one_line(cdk_context: dict[str, Any], tmp_path: Path) -> None:
    done = run_app({**cdk_context, "max_capacity": "0"}, tmp_path)
    assert done.returncode == 1
    assert done.stderr == "configuration: max_capacity must be 1 to 100, got 0\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "given",
    [
        {"env": "prod"},
        {
            "external_buckets": "some-bucket,another-bucket",
            "alarm_emails": "a@example.com",
            "fallback_instance_types": "ml.g6.2xlarge",
            "tags": "team=audio",
            "endpoint_name": "other",
        },
        {
            "model_id": "facebook/musicgen-small",
            "instance_type": "ml.c7i.4xlarge",
            "retain_variant_properties": "yes",
            "bootstrap_kms_key_arn": "arn:aws:kms:us-east-1:111111111111:key/11111111-2222-3333-4444-555555555555",
        },
        {
            "encryption": "customer-managed",
            "permissions_boundary": "teams/audio-boundary",
            "scaling": "off",
            **NETWORK,
            **SCHEDULE,
        },
    ],
)
def test_cdk_nag_accepts_every_option(cdk_context: dict[str, Any], given: dict[str, str]) -> None:
    checked_app(cdk_context, **given)[0].synth()


def test_cdk_nag_rejects_an_unacknowledged_wildcard(cdk_context: dict[str, Any]) -> None:
    app, stack = checked_app(cdk_context)
    iam.Policy(
        stack,
        "TooWide",
        statements=[iam.PolicyStatement(actions=["s3:GetObject"], resources=["arn:aws:s3:::some-bucket/*"])],
        roles=[iam.Role(stack, "Someone", assumed_by=iam.AccountRootPrincipal())],
    )
    with pytest.raises(RuntimeError, match=r"AwsSolutions-IAM5\[Resource::arn:aws:s3:::some-bucket/\*\]"):
        app.synth()


def checked_app(cdk_context: dict[str, Any], **given: str) -> tuple[App, MusicGenStack]:
    app = App(context={**cdk_context, "aws:cdk:bundling-stacks": []})
    stack = MusicGenStack(app, config=from_context({**cdk_context, **given}))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app, stack
