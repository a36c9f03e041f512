"""Run `cdk synth` for one environment of a revision, in a sandbox, without account, credentials or network."""

import os
import shutil
import tempfile
from pathlib import Path

from stack_gate import GateError
from stack_gate.collect import jsii_cache, sandbox
from stack_gate.collect.assembly import read_assembly
from stack_gate.collect.packages import Packages
from stack_gate.template import Stack

TIMEOUT_SECONDS = 300


def synthesise(source: Path, environment: str, packages: Packages, home: Path) -> list[Stack]:
    """Return the stacks of an environment of cdk.json. Raise GateError with CDK's output if the synth fails.

    `home` is the home folder of all syntheses of this revision, which has CDK's unpacked packages.
    """
    cdk = shutil.which("cdk")
    if cdk is None:
        raise GateError("the CDK CLI was not found on PATH: install it with `npm ci`")
    cdk_folder = Path(cdk).resolve().parents[2]  # node_modules, from node_modules/aws-cdk/bin/cdk
    # Nothing that differs between machines, names an account or is secret: no variable is inherited.
    variables = {
        **jsii_cache.variables(home),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        # CDK's validation of templates takes 6 s of processor time and 300 MB per environment. Nearly all of its errors
        # are cfn-lint's too, which the gate compares by itself; `make lint` and a deployment validate. cdk-nag in the
        # app, and errors that constructs annotate, still fail the synth.
        "CDK_VALIDATION": "false",
        **packages.variables,
    }
    # With --validation the CLI still refuses annotated errors of stages' stacks: the variable is for the app alone.
    options = ["--no-notices", "--no-version-reporting", "--validation", "--context", f"env={environment}"]
    with tempfile.TemporaryDirectory(prefix="stack-gate-") as folder:
        output = Path(folder) / "assembly"
        output.mkdir()
        try:
            done = sandbox.run(
                [str(Path(cdk).resolve()), *options, "synth", "--quiet", "--output", str(output)],
                folder=source,
                variables=variables,
                read_only=[source, cdk_folder, *packages.folders],
                writable=[output, home],
                timeout_seconds=TIMEOUT_SECONDS,
            )
        except GateError as error:
            raise GateError(f"cdk synth of {environment}: {error}") from error
        if done.code != 0:
            raise GateError(f"cdk synth of {environment} failed:\n{done.output}")
        return read_assembly(output)
