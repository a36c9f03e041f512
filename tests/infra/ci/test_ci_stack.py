"""CI's stack: whom its roles trust, what they may do, and that cdk-nag and cfn-lint find nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cfnlint
import pytest
from aws_cdk import App, Validations
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks

from infra.ci.settings import from_context
from infra.ci.stack import DEPLOY_SECONDS, CiStack
from tests.infra.templates import NETWORK, SCHEDULE, Synthesise, as_list, plain
from tests.workflows.steps import ROOT, job

REPOSITORY = {"ci:repository": "owner/project"}
ISSUER = "token.actions.githubusercontent.com"
BOUNDED = {"dev": {"permissions_boundary": "teams/audio", "encryption": "customer-managed"}}
SCHEMAS = Path(cfnlint.__file__).parent / "data/schemas/resources"
# Actions of a `read` handler that this stack's resources do not need.
UNNEEDED = {"kms:Decrypt": "for variables of functions under a customer's key; here they are under Lambda's own"}
DRIFT = {
    "cloudformation:DescribeStackDriftDetectionStatus",
    "cloudformation:DescribeStackResourceDrifts",
    "cloudformation:DescribeStacks",
    "cloudformation:DetectStackDrift",
    "cloudformation:DetectStackResourceDrift",
    "cloudformation:GetTemplate",
}


def app_of(context: dict[str, Any], **given: Any) -> tuple[App, CiStack]:
    app = App(context={**context, **given})
    return app, CiStack(app, config=from_context({**context, **REPOSITORY, **given}))


def template_of(context: dict[str, Any], **given: Any) -> dict[str, Any]:
    return dict(Template.from_stack(app_of(context, **given)[1]).to_json())


def trusts(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the only statement of each role's trust policy, by the beginning of its logical id."""
    found: dict[str, dict[str, Any]] = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Role":
            (statement,) = resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]
            found[name[:-8]] = statement
    return found


def granted(template: dict[str, Any], role: str) -> dict[str, set[str]]:
    """Return the resources of each action that a role has."""
    found: dict[str, set[str]] = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Policy" and name.startswith(role):
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                for action in as_list(statement["Action"]):
                    found.setdefault(action, set()).update(map(plain, as_list(statement["Resource"])))
    return found


def test_each_role_trusts_one_repository_and_one_github_environment(cdk_context: dict[str, Any]) -> None:
    found = trusts(template_of(cdk_context))
    wanted = {"devDeploy": "dev", "devRead": "dev-read", "prodDeploy": "prod", "prodRead": "prod-read"}
    assert {role: statement["Condition"] for role, statement in found.items()} == {
        role: {
            "StringEquals": {
                f"{ISSUER}:aud": "sts.amazonaws.com",
                f"{ISSUER}:sub": f"repo:owner/project:environment:{environment}",
            }
        }
        for role, environment in wanted.items()
    }
    assert {statement["Action"] for statement in found.values()} == {"sts:AssumeRoleWithWebIdentity"}
    assert {tuple(statement["Principal"]) for statement in found.values()} == {("Federated",)}


def test_subjects_are_those_of_the_workflows_jobs() -> None:
    assert job("deploy", "deploy")["environment"] == "${{ inputs.environment }}"
    assert (
        job("drift", "drift")["environment"] == job("pr", "deployed")["environment"] == "${{ matrix.environment }}-read"
    )


def test_deploy_role_lasts_as_long_as_the_workflow_asks_for(cdk_context: dict[str, Any]) -> None:
    (credentials,) = [step for step in job("deploy", "deploy")["steps"] if "configure-aws" in step.get("uses", "")]
    assert credentials["with"]["role-duration-seconds"] == DEPLOY_SECONDS
    roles = {
        name[:-8]: resource["Properties"].get("MaxSessionDuration")
        for name, resource in template_of(cdk_context)["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    assert roles == {"devDeploy": 10_800, "devRead": None, "prodDeploy": 10_800, "prodRead": None}


def test_existing_provider_is_used_instead_of_a_new_one(cdk_context: dict[str, Any]) -> None:
    arn = f"arn:aws:iam::111111111111:oidc-provider/{ISSUER}"
    template = template_of(cdk_context, **{"ci:provider_arn": arn})
    assert "AWS::IAM::OIDCProvider" not in {item["Type"] for item in template["Resources"].values()}
    assert {statement["Principal"]["Federated"] for statement in trusts(template).values()} == {arn}


def test_gitlab_has_its_own_provider_and_subjects(cdk_context: dict[str, Any]) -> None:
    template = template_of(cdk_context, **{"ci:host": "gitlab", "ci:repository": "group/project"})
    (provider,) = [item for item in template["Resources"].values() if item["Type"] == "AWS::IAM::OIDCProvider"]
    assert provider["Properties"] == {"Url": "https://gitlab.com", "ClientIdList": ["https://gitlab.com"]}
    subject = "project_path:group/project:ref_type:branch:ref:"
    audience = {"gitlab.com:aud": "https://gitlab.com"}
    found = trusts(template)
    assert found["devDeploy"]["Condition"] == {"StringEquals": {**audience, "gitlab.com:sub": f"{subject}main"}}
    assert found["devRead"]["Condition"] == {
        "StringEquals": audience,
        "StringLike": {"gitlab.com:sub": f"{subject}*"},
    }


def test_deploy_role_assumes_bootstrap_roles_of_the_apps_qualifier(cdk_context: dict[str, Any]) -> None:
    template = template_of(cdk_context, **{"@aws-cdk/core:bootstrapQualifier": "audio"})
    assert granted(template, "devDeploy")["sts:AssumeRole"] == {
        f"arn:aws:iam::<AccountId>:role/cdk-audio-{name}-<AccountId>-us-east-1"
        for name in ("deploy-role", "file-publishing-role")
    }


def test_deploy_role_may_nothing_else_but_ask_for_music(cdk_context: dict[str, Any]) -> None:
    found = granted(template_of(cdk_context), "prodDeploy")
    bucket = "arn:aws:s3:::musicgen-prod-storageoutputbucket*"
    assert {action: resources for action, resources in found.items() if action != "sts:AssumeRole"} == {
        "cloudformation:DescribeStacks": {"arn:aws:cloudformation:us-east-1:<AccountId>:stack/MusicGen-prod/*"},
        "sagemaker:InvokeEndpointAsync": {"arn:aws:sagemaker:us-east-1:<AccountId>:endpoint/musicgen-prod"},
        "s3:GetObject": {f"{bucket}/{prefix}/*" for prefix in ("out", "failures", "audio")},
        "s3:ListBucket": {bucket},
    }


def test_customer_managed_key_adds_its_decryption_through_s3(cdk_context: dict[str, Any]) -> None:
    template = template_of(cdk_context, environments=BOUNDED)
    (statement,) = [
        statement
        for name, resource in template["Resources"].items()
        if name.startswith("devDeployDefaultPolicy")
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == "kms:Decrypt"
    ]
    bucket = "arn:aws:s3:::musicgen-dev-storageoutputbucket*"
    assert statement["Condition"]["StringLike"] == {"kms:EncryptionContext:aws:s3:arn": [bucket, f"{bucket}/*"]}
    assert plain(statement["Condition"]["StringEquals"]["kms:ViaService"]) == "s3.us-east-1.<URLSuffix>"


def test_roles_have_the_environments_boundary(cdk_context: dict[str, Any]) -> None:
    roles = [
        item["Properties"]
        for item in template_of(cdk_context, environments=BOUNDED)["Resources"].values()
        if item["Type"] == "AWS::IAM::Role"
    ]
    assert [plain(role["PermissionsBoundary"]) for role in roles] == ["arn:aws:iam::<AccountId>:policy/teams/audio"] * 2


@pytest.mark.parametrize("environment", ["a" * 13, "a" * 14, "a" * 31])
def test_patterns_match_names_that_cloudformation_shortens(cdk_context: dict[str, Any], environment: str) -> None:
    found = granted(template_of(cdk_context, environments={environment: {}}), f"{environment}Deploy")
    (pattern,) = found["s3:ListBucket"]
    begin = pattern.removeprefix("arn:aws:s3:::").removesuffix("*")
    name = f"musicgen-{environment}-storageoutputbucketcd2eeb3a-abcdefghijkl"
    assert name.startswith(begin)
    assert len(name) > 63 or "storageoutputbucket" in begin
    assert begin.startswith("musicgen-aaaaaaaaaaaaa")


def read_actions(template: Template) -> set[str]:
    """Return what the published schemas of a template's types say that reading them takes."""
    wanted = {resource["Type"] for resource in template.to_json()["Resources"].values()}
    actions: set[str] = set()
    for file in SCHEMAS.glob("*.json"):
        schema = json.loads(file.read_text(encoding="utf-8"))
        if schema.get("typeName") in wanted:
            actions.update(schema.get("handlers", {}).get("read", {}).get("permissions", []))
    return actions


def test_read_role_has_exactly_what_drift_detection_reads(cdk_context: dict[str, Any], synthesise: Synthesise) -> None:
    options = {"encryption": "customer-managed", "alarm_emails": "a@example.com", **NETWORK, **SCHEDULE}
    with_all = read_actions(synthesise(**options))
    with_defaults = read_actions(synthesise())
    assert set(UNNEEDED) < with_all and with_defaults < with_all
    found = granted(template_of(cdk_context, environments=BOUNDED), "devRead")
    assert set(found) == (with_all | DRIFT) - set(UNNEEDED)


def test_read_role_reads_configuration_and_no_content(cdk_context: dict[str, Any]) -> None:
    found = granted(template_of(cdk_context, environments=BOUNDED), "devRead")
    verbs = {action.partition(":")[2] for action in found}
    assert all(re.match("(Get|List|Describe|Detect)[A-Z]", verb) for verb in verbs)
    content = {"s3:GetObject", "logs:GetLogEvents", "logs:FilterLogEvents", "secretsmanager:GetSecretValue"}
    assert not content & set(found) and "sts:AssumeRole" not in found
    assert found["s3:GetBucketPolicy"] == {"arn:aws:s3:::musicgen-dev-*"}


@pytest.mark.parametrize("given", [{}, {"environments": BOUNDED}, {"ci:host": "gitlab"}])
def test_cdk_nag_finds_nothing(cdk_context: dict[str, Any], given: dict[str, Any]) -> None:
    app, _ = app_of(cdk_context, **given)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()


def run_app(context: dict[str, Any], out: Path) -> subprocess.CompletedProcess[str]:
    # CDK's own validation takes most of the synth's time: test_cdk_nag_finds_nothing has it.
    variables = {"CDK_OUTDIR": str(out), "CDK_CONTEXT_JSON": json.dumps(context), "CDK_VALIDATION": "false"}
    environment = {**os.environ, **variables}
    command = [sys.executable, "-m", "infra.ci"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_app_writes_a_template_that_cfn_lint_accepts(cdk_context: dict[str, Any], tmp_path: Path) -> None:
    done = run_app({**cdk_context, **REPOSITORY}, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    template = tmp_path / "MusicGenCi.template.json"
    lint = [str(Path(sys.executable).with_name("cfn-lint")), str(template)]
    linted = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
    outputs = json.loads(template.read_text(encoding="utf-8"))["Outputs"]
    assert set(outputs) == {"DevDeployRoleArn", "DevReadRoleArn", "ProdDeployRoleArn", "ProdReadRoleArn"}


def test_app_says_in_one_line_what_is_missing(cdk_context: dict[str, Any], tmp_path: Path) -> None:
    done = run_app(cdk_context, tmp_path)
    assert done.returncode == 1
    assert done.stderr == "configuration: ci:repository must be owner/name or owner@1/name@2, got ''\n"
