"""One `cdk synth` of one environment of a revision, with no account, no credentials and no network."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from stack_gate.assembly import read_assembly
from stack_gate.errors import GateError
from stack_gate.template import Stack

TIMEOUT_SECONDS = 300
KEPT = ("HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "XDG_CACHE_HOME", "SSL_CERT_FILE")


def synthesise(source: Path, environment: str, python: Path, pip_variables: dict[str, str]) -> list[Stack]:
    """The stacks of an environment of cdk.json. GateError with CDK's last words where the app does not synthesise."""
    cdk = shutil.which("cdk")
    if cdk is None:
        raise GateError("the CDK CLI must be on PATH: `npm ci` installs it")
    options = ["--no-notices", "--no-version-reporting", "--context", f"env={environment}"]
    with tempfile.TemporaryDirectory(prefix="stack-gate-") as folder:
        output = Path(folder) / "assembly"
        command = [cdk, *options, "synth", "--quiet", "--output", str(output)]
        variables = {**_variables(python), **pip_variables}
        try:
            done = subprocess.run(
                command, cwd=source, env=variables, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise GateError(f"cdk synth of {environment} must end within {TIMEOUT_SECONDS} s, and did not") from error
        if done.returncode != 0:
            raise GateError(f"cdk synth of {environment} failed:\n{(done.stderr or done.stdout).strip()[-3000:]}")
        return read_assembly(output)


def _variables(python: Path) -> dict[str, str]:
    """What the app may see: nothing that differs between machines or names an account."""
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {
        **kept,
        "PATH": path,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "JSII_RUNTIME_PACKAGE_CACHE": "enabled",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
