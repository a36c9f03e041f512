"""`KEEP=1`: leave the deployed stack running and say how to use it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path

from local_aws.emulator.process import LocalAws
from local_aws.walkthrough.client import StackOutputs
from local_aws.walkthrough.report import Report

_OWN = ("AWS_", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE")  # the variables that point a tool at the embedded AWS


def stay_until_interrupted(report: Report) -> Callable[[LocalAws, StackOutputs], None]:
    """A wait that explains itself, and that Ctrl-C ends in favour of the remaining steps."""

    def wait(aws: LocalAws, outputs: StackOutputs) -> None:
        script = aws.state_dir.parent / "environment.sh"
        _write_environment(script, aws)
        report.say(_instructions(script, outputs))
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            report.say("\ninterrupted: removing the stack")

    return wait


def _write_environment(script: Path, aws: LocalAws) -> None:
    """Shell exports that point the AWS CLI, boto3 and the CDK CLI at the embedded AWS."""
    exports = [
        f"export {name}={shlex.quote(value)}" for name, value in aws.environment().items() if name.startswith(_OWN)
    ]
    script.write_text("\n".join(sorted(exports)) + "\n")


def _instructions(script: Path, outputs: StackOutputs) -> str:
    return f"""
running, until Ctrl-C. In another shell:
  source {script}
  {outputs["InvokeCommand"]}
  aws s3 ls --recursive s3://{outputs["OutputBucketName"]}
  jupyter execute examples/musicgen.ipynb"""
