"""The real CDK CLI against the embedded AWS: bootstrap, deploy, diff, update, failed update, destroy, nothing left."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.emulator.leftovers import Leftovers, find_leftovers
from local_aws.emulator.process import LocalAws
from local_aws.walkthrough.cdk_cli import with_fast_polling

PROJECT = Path(__file__).parents[4]
OPTIONS = ["--no-notices", "--no-version-reporting", "--ci"]


@pytest.fixture
def own_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """Start a separate embedded AWS, which contains nothing of other tests."""
    with LocalAws(tmp_path_factory.mktemp("cdk") / "aws") as running:
        yield running


class Cli:
    """The CDK CLI with one embedded AWS."""

    def __init__(self, aws: LocalAws, folder: Path):
        self.aws, self.folder = aws, folder

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the CLI; its output is in `stdout`."""
        command = [str(PROJECT / "node_modules" / ".bin" / "cdk"), *arguments, *OPTIONS]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=with_fast_polling(self.aws.environment()) | {"CDK_VALIDATION": "false"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
        )

    def succeed(self, *arguments: str) -> str:
        """Run a command that must succeed; return its output."""
        done = self(*arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def synth(self, variants: dict[str, dict[str, str]]) -> str:
        """Synthesise the tiny app, and in the same run its `variants`: context by folder; return its own folder."""
        program = f"{sys.executable} {Path(__file__).parents[1] / 'tiny_app' / 'app.py'}"
        folder = str(self.folder / "first")
        self.succeed("synth", "--quiet", "--app", program, "--output", folder, "-c", f"variants={json.dumps(variants)}")
        return folder


def names(aws: LocalAws) -> set[str]:
    parameters = aws.client("ssm").describe_parameters()["Parameters"]
    return {item["Name"] for item in parameters if item["Name"].startswith("/tiny/")}


def stack(aws: LocalAws) -> dict[str, Any]:
    return aws.client("cloudformation").describe_stacks(StackName="Tiny")["Stacks"][0]


def test_cdk_cli_deploys_updates_rolls_back_and_destroys_a_stack(own_aws: LocalAws, tmp_path: Path) -> None:
    cdk = Cli(own_aws, tmp_path)
    second, broken = str(tmp_path / "second"), str(tmp_path / "broken")
    first = cdk.synth({second: {"name": "second"}, broken: {"name": "third", "broken": "yes"}})
    cdk.succeed("bootstrap", f"aws://{own_aws.account_id}/{own_aws.region}", "--app", first)
    bucket = deploy_twice(cdk, first)
    replace(cdk, second)
    fail(cdk, broken)
    assert f"bucket: {bucket}" in find_leftovers(own_aws).of_stacks
    cdk.succeed("destroy", "--force", "--app", second)
    # CDK's own handler creates its log group itself, so that it remains, as on AWS.
    (left,) = find_leftovers(own_aws).of_stacks
    assert left.startswith("log group: /aws/lambda/Tiny-CustomS3AutoDelete")
    own_aws.client("logs").delete_log_group(logGroupName=left.removeprefix("log group: "))
    assert find_leftovers(own_aws) == Leftovers()


def deploy_twice(cdk: Cli, app: str) -> str:
    """Deploy, and deploy again without changes; return the bucket's name."""
    cdk.succeed("deploy", "--app", app, "--require-approval", "never")
    bucket = stack(cdk.aws)["Outputs"][0]["OutputValue"]
    assert cdk.aws.client("s3").get_object(Bucket=bucket, Key="made/object")["Body"].read() == b"x"
    assert "no changes" in cdk.succeed("deploy", "--app", app, "--require-approval", "never")
    cdk.succeed("diff", "--app", app, "--fail")
    return bucket


def replace(cdk: Cli, app: str) -> None:
    """Check that `diff` announces a replacement and `deploy` makes it."""
    announced = cdk("diff", "--app", app, "--fail")
    assert announced.returncode == 1 and "replace" in announced.stdout
    cdk.succeed("deploy", "--app", app, "--require-approval", "never")
    assert names(cdk.aws) == {"/tiny/second"}


def fail(cdk: Cli, app: str) -> None:
    """Check that a failed update reports its reason and leaves the stack as it was."""
    failed = cdk("deploy", "--app", app, "--require-approval", "never")
    assert failed.returncode == 1 and "Invalid bucket name" in failed.stdout
    assert (stack(cdk.aws)["StackStatus"], names(cdk.aws)) == ("UPDATE_ROLLBACK_COMPLETE", {"/tiny/second"})
