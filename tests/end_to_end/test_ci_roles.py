"""CI's roles on the embedded AWS: GitHub's tokens give them, they suffice for CI's work, and each right is needed."""
# pyright: reportTypedDictNotRequiredAccess=false
# (errors always carry what is read here)

import io
import json
import subprocess
import sys
import wave
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.emulator.process import LocalAws
from smoke_test.endpoint import SmokeTestError, generate_clip, stack_outputs
from tests.end_to_end.helpers.walkthrough_process import PROJECT, tool_environment
from tests.end_to_end.rights.deployed_permissions import DeployedPermissions, Permission
from tests.local_aws.helpers.token_issuer import TokenIssuer, assume, client_with

pytestmark = pytest.mark.timeout(600)

STACK, CI_STACK = "MusicGen-dev", "MusicGenCi"
REPOSITORY = "owner@1/project@2"
DEPLOYS, READS = f"repo:{REPOSITORY}:environment:dev", f"repo:{REPOSITORY}:environment:dev-read"
DEPLOY, READ = "devDeploy", "devRead"
APP = Path(__file__).with_name("ci_app") / "app.py"
DENIED = ("AccessDenied", "AccessDeniedException")


class Ci:
    """An account with CI's stack, and a job of the repository."""

    def __init__(self, aws: LocalAws, folder: Path) -> None:
        self.aws, self.folder, self.issuer = aws, folder, TokenIssuer()
        self.issuer.trusted_by(aws)
        self.permissions: DeployedPermissions
        self.roles: dict[str, str] = {}

    def cdk(self, *words: str, credentials: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the CDK CLI as the administrator, or with a session's credentials."""
        environment = {**self.aws.environment(), "PATH": tool_environment()["PATH"], "CDK_VALIDATION": "false"}
        environment["PYTHONPATH"] = str(PROJECT)
        if credentials:
            environment |= {
                "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
                "AWS_SESSION_TOKEN": credentials["SessionToken"],
            }
        return subprocess.run(
            ["cdk", *words, "--no-notices", "--no-version-reporting", "--ci"],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )

    def set_up(self) -> None:
        """Bootstrap the account and deploy CI's stack, as docs/ci.md says; synthesise what CI will deploy."""
        app, ci, assembly = f"{sys.executable} -m infra.ci", str(self.folder / "ci"), str(self.folder / "app")
        for words in (
            ["synth", "--quiet", "--app", app, "--output", ci, "-c", f"ci:repository={REPOSITORY}"],
            ["bootstrap", f"aws://{self.aws.account_id}/{self.aws.region}", "--app", ci],
            ["deploy", "--app", ci, "--require-approval", "never", "--outputs-file", str(self.folder / "roles.json")],
            ["synth", "--quiet", "--app", f"{sys.executable} {APP}", "--output", assembly],
        ):
            done = self.cdk(*words)
            assert done.returncode == 0, done.stdout
        self.permissions = DeployedPermissions(self.aws, CI_STACK)
        self.roles = json.loads((self.folder / "roles.json").read_text())[CI_STACK]

    def deploys(self) -> subprocess.CompletedProcess[str]:
        """Run deploy.yml's deployment with the deploy role."""
        words = ["deploy", "--app", str(self.folder / "app"), "--require-approval", "never"]
        return self.cdk(*words, credentials=self.session(DEPLOY))

    def session(self, role: str) -> dict[str, Any]:
        """Return the credentials that a job of the role's GitHub environment gets."""
        subject = DEPLOYS if role == DEPLOY else READS
        return assume(self.aws, self.arn(role), self.issuer.token(subject))

    def arn(self, role: str) -> str:
        return self.roles[{DEPLOY: "DevDeployRoleArn", READ: "DevReadRoleArn"}[role]]

    def client(self, role: str, service: str) -> Any:
        return client_with(self.aws, service, self.session(role))


@pytest.fixture(scope="module")
def ci(tmp_path_factory: pytest.TempPathFactory) -> Generator[Ci]:
    """CI's stack; the tests below run in order, and the second deploys the stack that the later ones ask."""
    folder = tmp_path_factory.mktemp("ci-roles")
    with LocalAws(folder / "aws") as aws:
        made = Ci(aws, folder)
        made.set_up()
        yield made


@pytest.fixture(scope="module")
def deployed(ci: Ci) -> Ci:
    """The account after CI has deployed the stack."""
    assumes = sorted((item for item in rights(ci, DEPLOY) if item.action == "sts:AssumeRole"), key=str)
    assert len(assumes) == 2
    for right in assumes:
        with ci.permissions.without([right]):
            done = ci.deploys()
        assert done.returncode != 0, f"deployed without {right.resource}"
        assert f"could not be used to assume '{right.resource}'" in done.stdout
    done = ci.deploys()
    assert done.returncode == 0, done.stdout
    return ci


def rights(ci: Ci, role: str) -> set[Permission]:
    return {right for right in ci.permissions.all() if right.principal == role}


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as error:
        call()
    return str(error.value.response["Error"]["Code"])


@pytest.mark.parametrize(
    ("role", "subject"),
    [
        (DEPLOY, "repo:other@3/project@2:environment:dev"),
        (DEPLOY, "repo:owner@1/project@4:environment:dev"),
        (DEPLOY, "repo:owner/project:environment:dev"),
        (DEPLOY, f"repo:{REPOSITORY}:environment:prod"),
        (DEPLOY, f"repo:{REPOSITORY}:environment:dev2"),
        (DEPLOY, f"repo:{REPOSITORY}:ref:refs/heads/main"),
        (DEPLOY, f"repo:{REPOSITORY}:pull_request"),
        (DEPLOY, READS),
        (READ, DEPLOYS),
        (READ, f"repo:{REPOSITORY}:environment:prod-read"),
        (READ, f"repo:{REPOSITORY}:pull_request"),
    ],
)
def test_other_repositories_branches_and_environments_get_no_role(ci: Ci, role: str, subject: str) -> None:
    assert code_of(lambda: assume(ci.aws, ci.arn(role), ci.issuer.token(subject))) == "AccessDenied"


def test_token_for_another_audience_gets_no_role(ci: Ci) -> None:
    token = ci.issuer.token(DEPLOYS, audience="https://github.com/owner")
    assert code_of(lambda: assume(ci.aws, ci.arn(DEPLOY), token)) == "InvalidIdentityToken"


def test_deploy_role_lasts_as_long_as_deploy_yml_asks_for(ci: Ci) -> None:
    token = ci.issuer.token(DEPLOYS)
    assert assume(ci.aws, ci.arn(DEPLOY), token, DurationSeconds=10_800)
    assert code_of(lambda: assume(ci.aws, ci.arn(DEPLOY), token, DurationSeconds=10_801)) == "ValidationError"
    read = ci.issuer.token(READS)
    assert code_of(lambda: assume(ci.aws, ci.arn(READ), read, DurationSeconds=3601)) == "ValidationError"


def test_deploy_role_deploys_and_needs_both_bootstrap_roles(deployed: Ci) -> None:
    assert "FileUrl" in stack_outputs(deployed.client(DEPLOY, "cloudformation"), STACK)


class Runtime:
    """SageMaker's runtime with fixed places for the answer."""

    def __init__(self, bucket: str, output: str, failure: str) -> None:
        self._places = {"OutputLocation": f"s3://{bucket}/{output}", "FailureLocation": f"s3://{bucket}/{failure}"}

    def invoke_endpoint_async(self, **_: Any) -> dict[str, str]:
        return self._places


def clip() -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(1000)
        file.writeframes(b"\x00\x40\x00\xc0" * 1500)
    return content.getvalue()


def smoke_test(ci: Ci) -> None:
    """Do with the deploy role all that tools/smoke_test does: AWS answers, and S3 has results, failures and audio."""
    outputs = stack_outputs(ci.client(DEPLOY, "cloudformation"), STACK)
    bucket = outputs["OutputBucketName"]
    runtime, s3 = ci.client(DEPLOY, "sagemaker-runtime"), ci.client(DEPLOY, "s3")
    with pytest.raises(SmokeTestError, match="refused the request"):  # there is no endpoint in this stack
        generate_clip(runtime, s3, outputs, timeout_seconds=1)
    answer = {"generated_outputs_s3": [f"s3://{bucket}/audio/1/0.wav"], "sampling_rate": 1000}
    administrator = ci.aws.client("s3")
    objects = {"out/1.out": json.dumps(answer).encode(), "audio/1/0.wav": clip(), "failures/1.out": b"a reason"}
    for key, content in objects.items():
        administrator.put_object(Bucket=bucket, Key=key, Body=content)
    assert generate_clip(Runtime(bucket, "out/1.out", "failures/2.out"), s3, outputs, timeout_seconds=1) == 3.0
    with pytest.raises(SmokeTestError, match="a reason"):
        generate_clip(Runtime(bucket, "out/2.out", "failures/1.out"), s3, outputs, timeout_seconds=1)


def test_deploy_role_may_do_what_the_smoke_test_does_and_needs_each_right(deployed: Ci) -> None:
    smoke_test(deployed)
    asked = sorted((item for item in rights(deployed, DEPLOY) if item.action != "sts:AssumeRole"), key=str)
    assert {item.action for item in asked} == {
        "cloudformation:DescribeStacks",
        "sagemaker:InvokeEndpointAsync",
        "s3:GetObject",
        "s3:ListBucket",
    }
    for right in asked:
        with deployed.permissions.without([right]), pytest.raises(ClientError) as error:
            smoke_test(deployed)
        assert error.value.response["Error"]["Code"] in DENIED, right


DESCRIBE = {"StackName": STACK}
CHANGE_SET = {**DESCRIBE, "ChangeSetName": "change", "TemplateBody": "{}"}
Calls = list[tuple[str, str, dict[str, Any]]]
NOBODY: Calls = [
    ("cloudformation", "create_change_set", CHANGE_SET),
    ("cloudformation", "delete_stack", DESCRIBE),
    ("cloudformation", "update_stack", {**DESCRIBE, "TemplateBody": "{}"}),
    ("iam", "list_roles", {}),
    ("iam", "update_assume_role_policy", {"RoleName": "<role>", "PolicyDocument": "{}"}),
    ("s3", "list_buckets", {}),
    ("s3", "put_object", {"Bucket": "<outputs>", "Key": "out/x", "Body": b"x"}),
    ("s3", "delete_object", {"Bucket": "<outputs>", "Key": "out/1.out"}),
    ("s3", "get_object", {"Bucket": "<outputs>", "Key": "elsewhere"}),
    ("s3", "get_object", {"Bucket": "<others>", "Key": "out/x"}),
    ("secretsmanager", "list_secrets", {}),
    ("lambda", "invoke", {"FunctionName": "MusicGen-dev-x", "Payload": b"{}"}),
    ("sagemaker", "delete_endpoint", {"EndpointName": "musicgen-dev"}),
]
DEPLOYER_ONLY: Calls = [
    ("cloudformation", "describe_stacks", {"StackName": CI_STACK}),
    ("cloudformation", "get_template", DESCRIBE),
    ("s3", "list_objects_v2", {"Bucket": "<outputs>"}),
    ("sagemaker-runtime", "invoke_endpoint_async", {"EndpointName": "other", "InputLocation": "s3://a/b"}),
]
READER_ONLY: Calls = [
    ("s3", "get_object", {"Bucket": "<outputs>", "Key": "out/1.out"}),
    ("s3", "get_object", {"Bucket": "<outputs>", "Key": "audio/1/0.wav"}),
    ("sagemaker-runtime", "invoke_endpoint_async", {"EndpointName": "musicgen-dev", "InputLocation": "s3://a/b"}),
    ("logs", "get_log_events", {"logGroupName": "x", "logStreamName": "x"}),
    ("cloudformation", "get_template", {"StackName": CI_STACK}),
]


@pytest.mark.parametrize(
    ("role", "service", "operation", "parameters"),
    [
        *((role, *call) for role in (DEPLOY, READ) for call in NOBODY),
        *((DEPLOY, *call) for call in DEPLOYER_ONLY),
        *((READ, *call) for call in READER_ONLY),
    ],
)
def test_other_calls_are_denied(
    deployed: Ci, role: str, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    outputs = stack_outputs(deployed.aws.client("cloudformation"), STACK)
    names = {
        "<outputs>": outputs["OutputBucketName"],
        "<others>": outputs["OtherBucketName"],
        "<role>": deployed.arn(role).rpartition("/")[2],
    }
    given = {name: names.get(value, value) if isinstance(value, str) else value for name, value in parameters.items()}
    assert code_of(lambda: getattr(deployed.client(role, service), operation)(**given)) in DENIED


@pytest.mark.parametrize("role", ["deploy-role", "file-publishing-role", "lookup-role", "cfn-exec-role"])
def test_read_role_assumes_no_bootstrap_role(deployed: Ci, role: str) -> None:
    account, region = deployed.aws.account_id, deployed.aws.region
    arn = f"arn:aws:iam::{account}:role/cdk-hnb659fds-{role}-{account}-{region}"
    sts = deployed.client(READ, "sts")
    assert code_of(lambda: sts.assume_role(RoleArn=arn, RoleSessionName="deploy")) == "AccessDenied"


def test_read_role_cannot_deploy(deployed: Ci) -> None:
    done = deployed.cdk("deploy", "--app", str(deployed.folder / "app"), "--force", credentials=deployed.session(READ))
    assert done.returncode != 0
    assert "current credentials could not be used to assume" in done.stdout and "is not authorized" in done.stdout


# The calls of drift.yml, pr.yml, and of CloudFormation on the reader's behalf, by the action that each needs.
READS_STACK: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cloudformation:DescribeStacks": ("cloudformation", "describe_stacks", DESCRIBE),
    "cloudformation:GetTemplate": ("cloudformation", "get_template", {**DESCRIBE, "TemplateStage": "Original"}),
    "s3:GetBucketVersioning": ("s3", "get_bucket_versioning", {"Bucket": "<outputs>"}),
    "s3:GetEncryptionConfiguration": ("s3", "get_bucket_encryption", {"Bucket": "<outputs>"}),
    "s3:ListBucket": ("s3", "head_bucket", {"Bucket": "<outputs>"}),
    "cloudwatch:DescribeAlarms": ("cloudwatch", "describe_alarms", {}),
    "logs:DescribeLogGroups": ("logs", "describe_log_groups", {}),
    "application-autoscaling:DescribeScalableTargets": (
        "application-autoscaling",
        "describe_scalable_targets",
        {"ServiceNamespace": "sagemaker"},
    ),
}


@pytest.mark.parametrize("action", READS_STACK)
def test_read_role_needs_what_the_embedded_aws_can_show(deployed: Ci, action: str) -> None:
    service, operation, parameters = READS_STACK[action]
    bucket = stack_outputs(deployed.aws.client("cloudformation"), STACK)["OutputBucketName"]
    given = {name: bucket if value == "<outputs>" else value for name, value in parameters.items()}
    call = getattr(deployed.client(READ, service), operation)
    assert call(**given)
    removed = [item for item in rights(deployed, READ) if item.action == action]
    with deployed.permissions.without(removed):
        assert code_of(lambda: call(**given)) in (*DENIED, "403")


@pytest.mark.parametrize(
    ("action", "operation", "parameters"),
    [
        ("DetectStackDrift", "detect_stack_drift", DESCRIBE),
        ("DescribeStackResourceDrifts", "describe_stack_resource_drifts", DESCRIBE),
        ("DescribeStackDriftDetectionStatus", "describe_stack_drift_detection_status", {"StackDriftDetectionId": "x"}),
    ],
)
def test_read_role_may_detect_drift(deployed: Ci, action: str, operation: str, parameters: dict[str, str]) -> None:
    """The embedded AWS detects no drift: it refuses the call only after it was allowed."""
    call = getattr(deployed.client(READ, "cloudformation"), operation)
    assert code_of(lambda: call(**parameters)) == "UnsupportedOperationException"
    removed = [item for item in rights(deployed, READ) if item.action == f"cloudformation:{action}"]
    assert removed
    with deployed.permissions.without(removed):
        assert code_of(lambda: call(**parameters)) in DENIED
