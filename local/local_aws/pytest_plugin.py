"""pytest plugin: the fixture `embedded_aws`, an AWS of the test session's own to which CDK apps are deployed.

def test_bucket_keeps_objects(embedded_aws):
    outputs = embedded_aws.deploy(Path("infra"))["MyStack"]
    embedded_aws.client("s3").put_object(Bucket=outputs["BucketName"], Key="k", Body=b"x")
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from local_aws.emulator.process import LocalAws

_OPTIONS = ("--no-notices", "--no-version-reporting", "--ci")


class EmbeddedAws:
    """A running embedded AWS; `aws` is the process, `environment()` what tools and SDKs need to use it."""

    def __init__(self, aws: "LocalAws", folder: Path) -> None:
        self.aws = aws
        self._folder = folder
        self._bootstrapped = False

    def client(self, service: str) -> Any:
        """Create a boto3 client of `service` with the administrator's credentials."""
        return self.aws.client(service)

    def environment(self) -> dict[str, str]:
        """Return the whole environment for programs that are to use the embedded AWS."""
        return self.aws.environment()

    def deploy(self, app: Path, **context: str) -> dict[str, dict[str, str]]:
        """Synthesise and deploy all stacks of the CDK app in folder `app`; return their outputs by stack.

        `cdk` must be on PATH, or in `node_modules` of `app`. Raises RuntimeError with the CLI's output if it fails.
        """
        assembly = self._assembly(app)
        overrides = [word for key, value in context.items() for word in ("-c", f"{key}={value}")]
        self.cdk(app, "synth", "--quiet", "--output", str(assembly), *overrides)
        if not self._bootstrapped:
            self.cdk(app, "bootstrap", f"aws://{self.aws.account_id}/{self.aws.region}", "--app", str(assembly))
            self._bootstrapped = True
        self.cdk(app, "deploy", "--all", "--require-approval", "never", "--app", str(assembly))
        artifacts = json.loads((assembly / "manifest.json").read_text(encoding="utf-8"))["artifacts"]
        stacks = {
            item.get("properties", {}).get("stackName", name)
            for name, item in artifacts.items()
            if item["type"] == "aws:cloudformation:stack"
        }
        return {stack: self._outputs(stack) for stack in stacks}

    def destroy(self, app: Path) -> None:
        """Destroy what `deploy` deployed from the same folder."""
        self.cdk(app, "destroy", "--all", "--force", "--app", str(self._assembly(app)))

    def cdk(self, app: Path, *arguments: str) -> str:
        """Run a command of the CDK CLI in folder `app`; return its output, or raise RuntimeError with it."""
        environment = self.environment()
        local = app.resolve() / "node_modules" / ".bin" / "cdk"
        program = str(local) if local.exists() else shutil.which("cdk", path=environment["PATH"])
        if program is None:
            raise RuntimeError(f"cdk must be on PATH or in {local.parent}: npm install aws-cdk")
        done = subprocess.run(
            [program, *arguments, *_OPTIONS],
            cwd=app,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            from local_aws.emulator.child_processes import describe_exit

            raise RuntimeError(f"`cdk {arguments[0]}` {describe_exit(done.returncode)}:\n{done.stdout}")
        return done.stdout

    def _assembly(self, app: Path) -> Path:
        return self._folder / f"{app.resolve().name}.cdk.out"

    def _outputs(self, stack: str) -> dict[str, str]:
        described = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}


@pytest.fixture(scope="session")
def embedded_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """Start an embedded AWS for this test session; it and everything in it ends with the session."""
    from local_aws.emulator.process import LocalAws  # here: sessions that do not use it must not import boto3

    folder = tmp_path_factory.mktemp("embedded-aws")
    with LocalAws(folder / "aws") as aws:
        yield EmbeddedAws(aws, folder)
